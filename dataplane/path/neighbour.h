// forward: the Ethernet addresses of the next hop, and out. One packet waits per unresolved next hop. A packet at a
// time, part of send().
#pragma once

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus::next_hop {

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
[[nodiscard]] bool wait_for_mac(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept;

// False: the packet has been dropped.
[[nodiscard]] inline bool forward(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept {
  constexpr auto kIpv4 = static_cast<std::uint16_t>(EtherType::kIpv4),
                 kIpv6 = static_cast<std::uint16_t>(EtherType::kIpv6);
  const bool ipv4 = block.to == Side::kFabric || packet.family == Family::kIpv4;  // the underlay is IPv4
  const Be16 type = Be16::of(ipv4 ? kIpv4 : kIpv6);
  packet.verdict = Verdict::kConsumed;
  if (context.shared.adjacencies.write_header(block.adjacency, type, packet.frame.data)) [[likely]] {
    if (append(context, packet.frame, block.adjacency)) [[likely]] {
      return true;
    }
    packet.drop(DropReason::k_tx_full);
    return false;
  }
  net::at<net::Ethernet>(packet.frame.data)->type = type;
  if (wait_for_mac(context, packet.frame, block.adjacency)) {
    return true;
  }
  packet.drop(DropReason::k_neighbour_unresolved);
  return false;
}

}  // namespace isthmus::next_hop
