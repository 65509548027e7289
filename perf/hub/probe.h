// Probes: repeatedly writes a new identity for one endpoint and measures the time until the gateway forwards the first
// packet with it. A bare watcher of the same key, which does nothing else, shows when the server's event arrives: the
// time until then is spent by etcd and the machine, the rest by the gateway.
//
// The threads that take timestamps have the gateway's priority: if an acknowledgement or event had to wait until the
// gateway sleeps, the gateway would look faster than it is. Threads: one at a time. Failure: ends the program with a
// message.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/hub/shared.h"
#include "perf/hub/watcher.h"
#include "perf/hub/writer.h"

namespace isthmus::perf {

// Milliseconds, sorted. Negative differences count as 0.
struct Latencies {
  std::vector<double> sent_to_packet;          // from just before the write was sent
  std::vector<double> write_to_packet;         // from the server's acknowledgement
  std::vector<double> write_to_bare_watcher;   // from the acknowledgement to the watcher's event
  std::vector<double> bare_watcher_to_packet;  // from the watcher's event to the packet
};

class Prober {
 public:
  // The gateway answers through `shared`, which outlives this object.
  Prober(const std::string& address, Shared& shared);
  // Runs probes one after another for `seconds`.
  [[nodiscard]] Latencies probe(double seconds);
  // Probes without a packet that passed, or without an event.
  [[nodiscard]] std::uint32_t lost() const { return lost_; }

 private:
  void probe_once(Latencies& latencies);
  void arrived(std::string_view value, std::int64_t when);

  Shared& shared_;
  std::vector<std::atomic<std::int64_t>> delivered_;  // by probe; CLOCK_MONOTONIC, ns; 0: not yet
  std::uint32_t lost_ = 0;
  Writer writer_;
  Watcher watcher_;  // last: its thread writes to the members above
};

}  // namespace isthmus::perf
