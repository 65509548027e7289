// FlowTable: what connections have to do with being handed down (leases.h).
#include "dataplane/conntrack/flow_table.h"

namespace isthmus {

void FlowTable::note_hot(WorkerId worker, const Hit& hit, Seconds now) noexcept {
  HotFlows& hot = hot_flows_[worker.value()];
  const std::uint32_t line = kLinesPerSlot * hit.slot + 1 + static_cast<std::uint32_t>(hit.direction);
  const Connection& connection = *hit.connection;
  if (hot.note(line, hit.line().packets.load(std::memory_order_relaxed), now) &&
      (connection.opened() || connection.protocol() == IpProtocol::kUdp) &&
      connection.shared.pair(std::memory_order_relaxed) == 0) {
    hot.post(ref(hit));
  }
}

ForwardedCounts& FlowTable::forwarded_counts(const Connection& connection) const noexcept {
  return mapping_.forwarded(static_cast<std::uint32_t>(&connection - &mapping_.connection(0)));
}

LeaseCount FlowTable::forwarded(const Connection& connection, Direction direction) const noexcept {
  if (const std::uint32_t pair = connection.shared.pair(); pair != 0) {
    return leases_.count(pair, direction);
  }
  if ((connection.shared.state.load(std::memory_order_acquire) & ConnectionShared::kWasDown) == 0) {
    return {};
  }
  const ForwardedCounts::Count& count = forwarded_counts(connection).of[static_cast<std::size_t>(direction)];
  return {count.packets.load(std::memory_order_relaxed), count.bytes.load(std::memory_order_relaxed)};
}

void FlowTable::set_forwarded(Connection& connection, const std::array<LeaseCount, 2>& counts) noexcept {
  ForwardedCounts& kept = forwarded_counts(connection);
  for (std::size_t d = 0; d < counts.size(); ++d) {
    kept.of[d].packets.store(counts[d].packets, std::memory_order_relaxed);
    kept.of[d].bytes.store(counts[d].bytes, std::memory_order_relaxed);
  }
  connection.shared.state.fetch_or(ConnectionShared::kWasDown, std::memory_order_release);
}

void FlowTable::lend(Connection& connection, std::uint32_t pair) noexcept {
  for (const Direction direction : {Direction::kForward, Direction::kReply}) {
    leases_.begin(pair, direction, forwarded(connection, direction));
  }
  connection.shared.lease.store(pair, std::memory_order_seq_cst);
}

// At every step, whoever reads, or adopts the connection after a crash, finds the same counts.
void FlowTable::take_back(Connection& connection, std::uint32_t pair) noexcept {
  set_forwarded(connection, {leases_.count(pair, Direction::kForward), leases_.count(pair, Direction::kReply)});
  connection.shared.lease.store(0, std::memory_order_seq_cst);
}

LeaseCount FlowTable::total(const Connection& connection, Direction direction) const noexcept {
  const DirectionLine& line = connection.line(direction);
  const LeaseCount down = forwarded(connection, direction);
  return {line.packets.load(std::memory_order_relaxed) + down.packets,
          line.bytes.load(std::memory_order_relaxed) + down.bytes};
}

bool FlowTable::refresh(Connection& connection, Seconds now) const noexcept {
  const std::uint32_t pair = connection.shared.pair(std::memory_order_relaxed);
  bool moved = false;
  for (const Direction direction : {Direction::kForward, Direction::kReply}) {
    if (pair != 0) {
      leases_.tell_moved(pair, direction, [&] {
        lifecycle::record(connection, direction, now, 0);
        moved = true;
      });
    }
  }
  return moved;
}

// The expiry of a connection that XDP forwards is not known before its leases are looked at; and where another thread
// has just done so, before it is looked at again.
bool FlowTable::expired(Connection& connection, Seconds now) const noexcept {
  if (lifecycle::expires_in(connection, timeouts_, now) != 0) {
    return false;
  }
  refresh(connection, now);
  return lifecycle::expires_in(connection, timeouts_, now) == 0;
}

std::vector<FlowRef> FlowTable::earlier() const {
  std::vector<FlowRef> flows;
  for (const Earlier& each : earlier_) {
    flows.push_back(each.flow);
  }
  return flows;
}

// When its last packet was is not known: it counts as now, so that a connection rather lives longer.
void FlowTable::count_earlier(std::span<const LeaseCount> counts, Seconds now) noexcept {
  for (const Earlier& each : earlier_) {
    Connection* const connection = find(each.flow);
    if (connection == nullptr || Leases::index(each.pair, Direction::kReply) >= counts.size()) {
      continue;
    }
    std::array<LeaseCount, 2> found;
    for (const Direction direction : {Direction::kForward, Direction::kReply}) {
      LeaseCount& count = found[static_cast<std::size_t>(direction)];
      count = counts[Leases::index(each.pair, direction)];
      if (count.packets != forwarded(*connection, direction).packets) {
        lifecycle::record(*connection, direction, now, 0);
      }
    }
    set_forwarded(*connection, found);
  }
}

// Until then a process that adopts the table after this one finds the numbers, too.
void FlowTable::forget_earlier() noexcept {
  for (const Earlier& each : earlier_) {
    if (Connection* const connection = find(each.flow); connection != nullptr) {
      std::uint32_t earlier = each.pair | ConnectionShared::kEarlierPair;
      connection->shared.lease.compare_exchange_strong(earlier, 0, std::memory_order_relaxed);
    }
  }
  earlier_.clear();
  counts_earlier_.store(false, std::memory_order_release);
}

}  // namespace isthmus
