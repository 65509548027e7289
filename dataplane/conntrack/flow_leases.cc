// FlowTable: what connections have to do with being handed down (leases.h).
#include "dataplane/conntrack/flow_table.h"

namespace isthmus {

void FlowTable::note_hot(WorkerId worker, const Hit& hit, Seconds now) noexcept {
  HotFlows& hot = hot_flows_[worker.value()];
  const std::uint32_t line = kLinesPerSlot * hit.slot + 1 + static_cast<std::uint32_t>(hit.direction);
  if (hot.note(line, hit.line().packets.load(std::memory_order_relaxed), now) && hit.connection->opened() &&
      hit.shared().lease.load(std::memory_order_relaxed) == 0) {
    hot.post(ref(hit));
  }
}

Leases::Count FlowTable::total(const Connection& connection, Direction direction) const noexcept {
  const DirectionLine& line = connection.line(direction);
  const Leases::Count down = leases_.count(connection.shared, direction);
  return {line.packets.load(std::memory_order_relaxed) + down.packets,
          line.bytes.load(std::memory_order_relaxed) + down.bytes};
}

bool FlowTable::refresh(Connection& connection, Seconds now) const noexcept {
  const std::uint32_t pair = connection.shared.lease.load(std::memory_order_relaxed);
  bool moved = false;
  for (const Direction direction : {Direction::kForward, Direction::kReply}) {
    if (pair != 0 && leases_.take_moved(pair, direction)) {
      lifecycle::record(connection, direction, now, 0);
      moved = true;
    }
  }
  return moved;
}

}  // namespace isthmus
