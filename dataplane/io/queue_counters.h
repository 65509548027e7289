// The counters of one queue: written by its worker with relaxed stores (single writer), read by any thread.
#pragma once

#include "dataplane/api/counters.h"
#include "dataplane/stats/counter.h"

namespace isthmus {

struct QueueCounterCells {
#define ISTHMUS_QUEUE_COUNTER(field, ...) Counter field;
#include "dataplane/stats/counters.def"

  [[nodiscard]] QueueCounters read() const noexcept {
    QueueCounters counts;
#define ISTHMUS_QUEUE_COUNTER(field, ...) counts.field = field.get();
#include "dataplane/stats/counters.def"
    return counts;
  }
};

}  // namespace isthmus
