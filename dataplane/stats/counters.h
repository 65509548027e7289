// Counters of one worker: written only by that worker, with relaxed stores; read by control at any time.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/api/counters.h"
#include "dataplane/stats/counter.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus {

struct alignas(64) WorkerCounters {
#define ISTHMUS_WORKER_COUNTER(field, ...) Counter field;
#include "dataplane/stats/counters.def"
  struct Drops {
    Counter packets, bytes;  // bytes: length of the frame when it was dropped
    void add(std::uint32_t length) noexcept {
      packets.add();
      bytes.add(length);
    }
  };
  std::array<Drops, kDropReasons> drops;
  // Of these, the packets that were dropped after parsing, by the side they arrived on.
  std::array<Drops, kDropReasons> drops_from_local, drops_from_fabric;

  void drop(DropReason reason, std::uint32_t length) noexcept { drops[static_cast<std::size_t>(reason)].add(length); }
  void add_to(WorkerCounts& sum) const noexcept {
#define ISTHMUS_WORKER_COUNTER(field, ...) sum.field += field.get();
#include "dataplane/stats/counters.def"
  }
};

}  // namespace isthmus
