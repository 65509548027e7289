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

struct SettledGatewayOptions {
  Work work = Work::kForward;
  std::uint32_t flows = 0;
  bool hand_down = true;
  std::uint32_t hot = 1;        // packets a second that make a flow worth it
  std::uint32_t spare = 0;      // room for further connections
  std::uint32_t pods = 0;       // further clients' addresses: of the low half of settled_other_client()
  std::uint32_t half_open = 0;  // limit; 0: none
  bool policy = false;          // the clients' identity has one, which lets them talk to the pod
};

class SettledGateway {
 public:
  [[nodiscard]] static Result<std::unique_ptr<SettledGateway>> open(const SettledGatewayOptions& options);
  // All flows are in the table, and handed down if they are to be.
  [[nodiscard]] bool settled() const;
  // For a message: how far that has come, and what was dropped.
  [[nodiscard]] std::string state() const;
  // CPU time of an engine's thread in this process, so far: the one that hands flows down, and its only worker.
  [[nodiscard]] static double hand_down_seconds();
  [[nodiscard]] static double worker_seconds();
  // Publishes other services, endpoints and a policy that lets the same pass under another rule. The flows' decisions
  // stand, but have to be confirmed.
  [[nodiscard]] Status change();
  [[nodiscard]] EngineCounters counters() const { return engine_->counters(); }
  // Packets that reached the engine in user space.
  [[nodiscard]] std::uint64_t received() const;

 private:
  [[nodiscard]] Status publish();

  SettledGatewayOptions options_;
  std::uint32_t changes_ = 0;
  std::unique_ptr<Engine> engine_;
};

}  // namespace isthmus::perf
