// forward: writes the Ethernet addresses of the next hop and queues the frame on its device. At most one packet waits
// per unresolved next hop. One packet at a time, as part of send().
#pragma once

#include "dataplane/packet/packet.h"
#include "dataplane/path/context.h"

namespace isthmus::next_hop {

// False: the packet has been dropped.
[[nodiscard]] inline bool forward(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept {
  constexpr auto kIpv4 = static_cast<std::uint16_t>(EtherType::kIpv4),
                 kIpv6 = static_cast<std::uint16_t>(EtherType::kIpv6);
  const bool ipv4 = block.to == Side::kFabric || packet.family == Family::kIpv4;  // the underlay is IPv4
  const Be16 type = Be16::of(ipv4 ? kIpv4 : kIpv6);
  packet.verdict = Verdict::kConsumed;
  if (context.shared.adjacencies.write_header(block.adjacency, type, packet.frame.data)) [[likely]] {
    if (append(context.output, packet.frame, block.adjacency)) [[likely]] {
      return true;
    }
    packet.drop(DropReason::kTxFull);
    return false;
  }
  net::at<net::Ethernet>(packet.frame.data)->type = type;
  if (wait_for_mac(context.output, packet.frame, block.adjacency)) {
    return true;
  }
  packet.drop(DropReason::kNeighbourUnresolved);
  return false;
}

}  // namespace isthmus::next_hop
