// forward: writes the Ethernet addresses of the next hop and queues the frame on its device. At most one packet waits
// per unresolved next hop. One packet at a time, as part of send().
#pragma once

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus::next_hop {

// Adds a complete frame to its device's transmit batch. False if the batch is full; the caller then keeps the frame.
[[nodiscard]] inline bool append(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept {
  TxBatch& batch = context.tx[context.shared.adjacencies.device(adjacency).value()];
  if (batch.count == TxBatch::kCapacity) [[unlikely]] {
    return false;
  }
  // Field by field: the fields were written just now, and one wide load would stall on store forwarding.
  Frame& slot = batch.frames[batch.count++];
  slot.data = frame.data;
  slot.length = frame.length;
  slot.chunk = frame.chunk;
  return true;
}

// Keeps the frame until its next hop is resolved. False if another frame already waits for it or no slot is free; the
// caller then keeps the frame.
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
    packet.drop(DropReason::kTxFull);
    return false;
  }
  net::at<net::Ethernet>(packet.frame.data)->type = type;
  if (wait_for_mac(context, packet.frame, block.adjacency)) {
    return true;
  }
  packet.drop(DropReason::kNeighbourUnresolved);
  return false;
}

}  // namespace isthmus::next_hop
