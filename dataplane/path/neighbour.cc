// forward: the Ethernet addresses of the next hop, and out. One packet waits per unresolved next hop.
#include "dataplane/path/context.h"
#include "dataplane/path/output.h"
#include "dataplane/path/path.h"
#include "dataplane/path/report.h"

namespace isthmus {
namespace {

constexpr std::uint64_t kLongestWaitNs = 1'000'000'000;

// Hands a finished frame to its device's batch; false, and the frame stays the caller's, where that is full.
[[nodiscard]] inline bool append(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept {
  TxBatch& batch = context.tx[context.shared.adjacencies.device(adjacency).value()];
  if (batch.count == TxBatch::kCapacity) [[unlikely]] {
    return false;
  }
  // Field by field: the frame's parts were written a moment ago, and one wide load would wait for them.
  Frame& place = batch.frames[batch.count++];
  place.data = frame.data;
  place.length = frame.length;
  place.chunk = frame.chunk;
  return true;
}

// Keeps the frame until its next hop has an address; false, and the frame stays the caller's, where another one waits.
[[nodiscard]] bool wait_for_mac(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept {
  const bool taken = adjacency == kNoAdjacency || context.waiting_count == context.waiting.size() ||
                     std::any_of(context.waiting.begin(), context.waiting.begin() + context.waiting_count,
                                 [&](const WaitingFrame& w) { return w.adjacency == adjacency; });
  if (taken) {
    return false;
  }
  context.counters.neighbour_waits.add();
  context.waiting[context.waiting_count++] = {frame, adjacency, context.now_ns};
  const AdjacencyTable& table = context.shared.adjacencies;
  context.mailbox.tell(
      {WorkerEvent::Kind::kNeighbourWanted, table.device(adjacency), table.next_hop(adjacency), {}, 0});
  return true;
}

}  // namespace

void send_frame(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept {
  const auto type = static_cast<Be16>(net::at<net::Ethernet>(frame.data)->type);
  const bool resolved = context.shared.adjacencies.write_header(adjacency, type, frame.data);
  if (resolved ? !append(context, frame, adjacency) : !wait_for_mac(context, frame, adjacency)) {
    lose_frame(context, frame, resolved ? DropReason::k_tx_full : DropReason::k_neighbour_unresolved);
  }
}

void retry_waiting(PathContext& context) noexcept {
  const unsigned count = context.waiting_count;
  context.waiting_count = 0;
  for (unsigned i = 0; i < count; ++i) {
    const WaitingFrame waiting = context.waiting[i];
    if (context.shared.adjacencies.resolved(waiting.adjacency)) {
      send_frame(context, waiting.frame, waiting.adjacency);
    } else if (context.now_ns - waiting.since_ns > kLongestWaitNs) {
      lose_frame(context, waiting.frame, DropReason::k_neighbour_unresolved);
    } else {
      context.waiting[context.waiting_count++] = waiting;
    }
  }
}

void forward(PathContext& context, Burst& burst) noexcept {
  constexpr auto kIpv4 = static_cast<std::uint16_t>(EtherType::kIpv4),
                 kIpv6 = static_cast<std::uint16_t>(EtherType::kIpv6);
  for (Packet& packet : burst) {
    if (!packet.alive()) {
      continue;
    }
    const DirectionBlock& block = *packet.block;
    const bool ipv4 = block.to == Side::kFabric || packet.family == Family::kIpv4;  // the underlay is IPv4
    const Be16 type = Be16::of(ipv4 ? kIpv4 : kIpv6);
    packet.verdict = Verdict::kConsumed;
    if (context.shared.adjacencies.write_header(block.adjacency, type, packet.frame.data)) [[likely]] {
      if (!append(context, packet.frame, block.adjacency)) [[unlikely]] {
        packet.drop(DropReason::k_tx_full);
      }
    } else {
      net::at<net::Ethernet>(packet.frame.data)->type = type;
      if (!wait_for_mac(context, packet.frame, block.adjacency)) {
        packet.drop(DropReason::k_neighbour_unresolved);
      }
    }
  }
}

}  // namespace isthmus
