// FlowTable: aging.
#include <algorithm>

#include "dataplane/conntrack/backend_of.h"
#include "dataplane/conntrack/flow_table.h"

namespace isthmus {
namespace {

// The client uses the backend as long as the connection is used.
void keep_backend_of(const Connection& c, const DirectionBlock* block, AffinityTable& affinities,
                     Seconds now) noexcept {
  const FlowKey& forward = c.line(Direction::kForward).key;
  const AffinityTable::Backend backend = backend_of(c, block);
  if (backend.address.is_unspecified()) {
    return;
  }
  const FrontendKey frontend{forward.realm, forward.destination(), forward.protocol,
                             L4Port{forward.destination_port.host()}};
  const std::uint32_t idle = std::min(lifecycle::idle(c, now), now.value());
  affinities.keep(frontend, forward.source(), backend, Seconds{now.value() - idle});
}

}  // namespace

unsigned FlowTable::age_connections(WorkerId worker, Seconds now, unsigned budget,
                                    lifecycle::UnansweredWatch* watch) noexcept {
  WorkerState& own = state(worker);
  const std::uint32_t first = std::min(capacity_, worker.value() * share());
  const std::uint32_t size = std::min(capacity_ - first, share());
  unsigned removed = 0;
  for (unsigned visited = 0; visited < std::min(budget, size); ++visited) {
    const std::uint32_t slot = first + own.cursor;
    own.cursor = own.cursor + 1 == size ? 0 : own.cursor + 1;
    Connection& c = mapping_.connection(slot);
    if (c.shared.checksum.load(std::memory_order_acquire) == 0) {
      continue;
    }
    if (c.shared.has_pin()) {
      keep_backend_of(c, block(c, Direction::kForward), affinities_, now);
    }
    if (lifecycle::expires_in(c, timeouts_, now) == 0 && remove_if(worker, slot, {.expired_at = &now})) {
      own.expired.add();
      ++removed;
      if (watch != nullptr && c.shared.is_watched() && lifecycle::is_unanswered(c) && c.shared.take_watch()) {
        watch->unanswered(c);
      }
    }
  }
  half_open_.sweep(worker, budget / 4);
  slots_->collect(worker);
  blocks_->collect(worker);
  mapping_.record_use(now);
  return removed;
}

}  // namespace isthmus
