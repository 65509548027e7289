// Our gateway between the benchmarks' clients and the fabric: a whole engine with its own threads, over AF_XDP on u0
// and d0 of the topology in perf/io/rig.h. Its worker runs on core 0 with real-time priority, as the pump does, so that
// each batch is forwarded before the next is pumped. Control thread: the caller's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/api/engine.h"
#include "perf/settled/streams.h"

namespace isthmus::perf {

class SettledGateway {
 public:
  [[nodiscard]] static Result<std::unique_ptr<SettledGateway>> open(Work work, std::uint32_t flows, bool hand_down);
  // All flows are in the table, and handed down if they are to be.
  [[nodiscard]] bool settled() const;
  // For a message: how far that has come, and what was dropped.
  [[nodiscard]] std::string state() const;
  // CPU time of the thread that hands flows down, so far.
  [[nodiscard]] static double hand_down_seconds();
  // Packets that reached the engine in user space.
  [[nodiscard]] std::uint64_t received() const;

 private:
  [[nodiscard]] Status publish(Work work);

  std::uint32_t flows_ = 0;
  bool hand_down_ = false;
  std::unique_ptr<Engine> engine_;
};

}  // namespace isthmus::perf
