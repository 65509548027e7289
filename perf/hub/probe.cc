#include "perf/hub/probe.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "control/daemon/priority.h"
#include "perf/hub/subject.h"

namespace isthmus::perf {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{5};
constexpr std::chrono::milliseconds kLook{5};

std::int64_t now_ns() { return Clock::now().time_since_epoch().count(); }

KeyValue entry_of(std::uint32_t probe) { return endpoint_entry(kProbeCluster, kProbeEndpoint, probe_identity(probe)); }

double ms_between(std::int64_t from, std::int64_t to) { return std::max(0.0, static_cast<double>(to - from) / 1e6); }

}  // namespace

Prober::Prober(const std::string& address, Shared& shared)
    : shared_(shared),
      delivered_(kMostProbes),
      writer_(address),
      watcher_(address, entry_of(0).key, [this](std::string_view value, std::int64_t when) { arrived(value, when); }) {}

// A probe is over when its event has come here, too, so that this is the newest one's or a lost one's.
void Prober::arrived(std::string_view value, std::int64_t when) {
  const std::uint32_t newest = shared_.probe;
  if (value == entry_of(newest).value) {
    delivered_[newest] = when;
  }
}

void Prober::probe_once(Latencies& latencies) {
  const std::uint32_t number = shared_.probe + 1;
  shared_.probe = number;
  const std::vector<KeyValue> write{entry_of(number)};
  const std::int64_t sent = now_ns();
  writer_.put(write);
  const std::int64_t acknowledged = now_ns();
  const auto& passed = shared_.passed[number];
  const auto& delivered = delivered_[number];
  const auto patience = Clock::now() + kPatience;
  while ((passed == 0 || delivered == 0) && Clock::now() < patience) {
    std::this_thread::sleep_for(kLook);
  }
  if (passed == 0 || delivered == 0) {
    ++lost_;
    return;
  }
  latencies.sent_to_packet.push_back(ms_between(sent, passed));
  latencies.write_to_packet.push_back(ms_between(acknowledged, passed));
  latencies.write_to_bare_watcher.push_back(ms_between(acknowledged, delivered));
  latencies.bare_watcher_to_packet.push_back(ms_between(delivered, passed));
}

Latencies Prober::probe(double seconds) {
  Latencies latencies;
  std::thread thread([&] {
    raise_priority();
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    while (Clock::now() < end && shared_.probe + 1 < kMostProbes) {
      probe_once(latencies);
    }
  });
  thread.join();
  for (std::vector<double>* samples : {&latencies.sent_to_packet, &latencies.write_to_packet,
                                       &latencies.write_to_bare_watcher, &latencies.bare_watcher_to_packet}) {
    std::sort(samples->begin(), samples->end());
  }
  return latencies;
}

}  // namespace isthmus::perf
