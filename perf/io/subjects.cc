#include "perf/io/subjects.h"

#include <utility>

#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

using MakeResult = Result<std::unique_ptr<RoundForwarder>>;

MakeResult make_kernel(Traffic& traffic) {
  if (Status attached = traffic.attach(kInterfaceIn, "to_kernel"); !attached) {
    return attached.error();
  }
  return std::unique_ptr<RoundForwarder>();
}

MakeResult make_kernel_gateway(Traffic& traffic) {
  if (Status built = build_kernel_gateway(); !built) {
    return built.error();
  }
  return make_kernel(traffic);
}

Subject bare() {
  return {kReference, [](Traffic& traffic) { return make_bare_forwarder(traffic); }};
}

Subject path(std::string name, const ForwarderSetup& setup) {
  return {std::move(name), [setup](Traffic&) { return make_path_forwarder(setup); }};
}

Subject path_with(std::string name, void (*change)(ForwarderSetup&)) {
  ForwarderSetup setup;
  change(setup);
  return path(std::move(name), setup);
}

}  // namespace

std::vector<Subject> all_subjects() {
  return {
      bare(),
      {"device", [](Traffic&) { return make_device_forwarder({}); }},
      path("path", {}),
      {"kernel", make_kernel},
      {"kernel gw", make_kernel_gateway},
      {"pump only", [](Traffic&) { return MakeResult(std::unique_ptr<RoundForwarder>()); }, kInterfaceIn},
  };
}

std::vector<Subject> path_variations() {
  return {
      bare(),
      path("default", {}),
      path_with("rings-128", [](ForwarderSetup& s) { s.device.ring_entries = 128; }),
      path_with("rings-256", [](ForwarderSetup& s) { s.device.ring_entries = 256; }),
      path_with("rings-512", [](ForwarderSetup& s) { s.device.ring_entries = 512; }),
      path_with("rings-1024", [](ForwarderSetup& s) { s.device.ring_entries = 1024; }),
      path_with("busy-poll-20us", [](ForwarderSetup& s) { s.device.busy_poll_us = 20; }),
      path_with("busy-poll-20us-of-256",
                [](ForwarderSetup& s) {
                  s.device.busy_poll_us = 20;
                  s.device.busy_poll_budget = 256;
                }),
      path_with("chunks-2048", [](ForwarderSetup& s) { s.frames.chunk_bytes = 2048; }),
      path_with("rings-512-chunks-2048",
                [](ForwarderSetup& s) {
                  s.device.ring_entries = 512;
                  s.frames.chunk_bytes = 2048;
                }),
      path_with("transparent-huge-pages", [](ForwarderSetup& s) { s.frames.pages = FramePages::kTransparent; }),
      path_with("ordinary-pages", [](ForwarderSetup& s) { s.frames.pages = FramePages::kOrdinary; }),
  };
}

}  // namespace isthmus::perf
