// Probes: one endpoint's identity is written again and again, each time another one, and each write is followed to the
// first packet that the gateway lets through under it. A bare watcher of the same key tells beside it when the server's
// event reached a client that does nothing else: up to then the time is the server's and the machine's, from then on
// the gateway's.
//
// The threads that take the times have the gateway's priority: an acknowledgement or an event that waits for the
// gateway to sleep would make it look faster than it is. Thread: one at a time. Failure: ends the program with a
// message.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/hub/shared.h"
#include "perf/hub/watcher.h"
#include "perf/hub/writer.h"

namespace isthmus::perf {

// Milliseconds, sorted; what came before the time it counts from is 0.
struct Latencies {
  std::vector<double> sent_to_packet;          // from before the write was sent
  std::vector<double> write_to_packet;         // from the server's acknowledgement
  std::vector<double> write_to_bare_watcher;   // the same, to the watcher's event
  std::vector<double> bare_watcher_to_packet;  // the rest
};

class Prober {
 public:
  // The gateway answers through `shared`, which outlives this object.
  Prober(const std::string& address, Shared& shared);
  // One after the other while `seconds` pass.
  [[nodiscard]] Latencies probe(double seconds);
  // Probes that never passed.
  [[nodiscard]] std::uint32_t lost() const { return lost_; }

 private:
  void probe_once(Latencies& latencies);
  void arrived(std::string_view value, std::int64_t when);

  Shared& shared_;
  std::vector<std::atomic<std::int64_t>> delivered_;  // by probe, CLOCK_MONOTONIC; 0: not yet
  std::uint32_t lost_ = 0;
  Writer writer_;
  Watcher watcher_;  // last: its thread writes to what stands above
};

}  // namespace isthmus::perf
