#include "perf/hub/probe.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "control/daemon/priority.h"
#include "perf/hub/subject.h"

namespace isthmus::perf {
namespace {

constexpr std::chrono::seconds kTimeout{5};
constexpr std::chrono::milliseconds kPollInterval{5};

KeyValue entry_of(std::uint32_t probe) { return endpoint_entry(kProbeCluster, kProbeEndpoint, probe_identity(probe)); }

double ms_between(std::int64_t from, std::int64_t to) { return std::max(0.0, static_cast<double>(to - from) / 1e6); }

}  // namespace

Prober::Prober(const std::string& address, Shared& shared)
    : shared_(shared),
      delivered_(kMaxProbes),
      writer_(address),
      watcher_(address, entry_of(0).key, [this](std::string_view value, std::int64_t when) { arrived(value, when); }) {}

// probe_once() waits for the event of its probe, so an event is either of the newest probe or of a lost one.
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
  const auto deadline = Clock::now() + kTimeout;
  while ((passed == 0 || delivered == 0) && Clock::now() < deadline) {
    std::this_thread::sleep_for(kPollInterval);
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
    while (Clock::now() < end && shared_.probe + 1 < kMaxProbes) {
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
