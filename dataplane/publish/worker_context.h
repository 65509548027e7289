// State of one worker that its slow path, its reports and the packets it originates use. The worker sets `snapshot`,
// `now` and `now_ns` before each burst, inside its read section. Thread: the owning worker.
#pragma once

#include <cstdint>

#include "dataplane/packet/frame.h"
#include "dataplane/publish/mailbox.h"
#include "dataplane/publish/shared_state.h"
#include "dataplane/stats/counters.h"
#include "dataplane/stats/flow_events.h"

namespace isthmus {

struct WorkerContext {
  WorkerContext(SharedState& shared_state, WorkerId worker_id, FramePool& frame_pool, Mailbox& mail_box,
                FlowEventQueue& events) noexcept
      : shared(shared_state), worker(worker_id), pool(frame_pool), mailbox(mail_box), flow_events(events) {}
  WorkerContext(const WorkerContext&) = delete;
  WorkerContext& operator=(const WorkerContext&) = delete;

  SharedState& shared;
  WorkerId worker;
  FramePool& pool;
  Mailbox& mailbox;
  FlowEventQueue& flow_events;
  const Snapshot* snapshot = nullptr;
  Seconds now;               // connection table's clock
  std::uint64_t now_ns = 0;  // monotonic
  WorkerCounters counters;
  std::uint64_t drops_reported = 0;  // bitmap by index in the burst: its drop has been reported already
};

}  // namespace isthmus
