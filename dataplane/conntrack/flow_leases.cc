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

std::vector<FlowRef> FlowTable::earlier() const {
  std::vector<FlowRef> flows;
  for (const Earlier& each : earlier_) {
    flows.push_back(each.flow);
  }
  return flows;
}

// When its last packet was is not known: it counts as now, so that a connection rather lives longer.
void FlowTable::add_earlier(std::span<const LeaseCount> counts, Seconds now) noexcept {
  for (Earlier& each : earlier_) {
    Connection* const connection = find(each.flow);
    if (connection == nullptr || Leases::index(each.pair, Direction::kReply) >= counts.size()) {
      continue;
    }
    for (const Direction direction : {Direction::kForward, Direction::kReply}) {
      const LeaseCount& count = counts[Leases::index(each.pair, direction)];
      LeaseCount& added = each.added[static_cast<std::size_t>(direction)];
      if (count.packets == added.packets) {
        continue;
      }
      DirectionLine& line = connection->line(direction);
      line.packets.fetch_add(count.packets - added.packets, std::memory_order_relaxed);
      line.bytes.fetch_add(count.bytes - added.bytes, std::memory_order_relaxed);
      added = count;
      lifecycle::record(*connection, direction, now, 0);
    }
  }
}

}  // namespace isthmus
