// encap: puts the peer's outer header in front of packets that leave by a tunnel. One packet at a time, as part of
// forward. Cannot fail open: a peer without a header gives a drop.
#pragma once

#include "dataplane/encap/encap.h"
#include "dataplane/path/context.h"

namespace isthmus {

// Sums over one burst, added to the worker's counters at its end.
struct ForwardTally {
  std::uint64_t encapsulated = 0, fabric_bytes = 0, local_bytes = 0;
};

// False: the packet has been dropped.
[[nodiscard]] inline bool encapsulate(PathContext& context, const PeerTable& peers, Packet& packet,
                                      const DirectionBlock& block, ForwardTally& tally) noexcept {
  if ((block.flags & DirectionBlock::kTunnel) == 0) {
    // An Ethernet header directly precedes the IP header, whether the packet was decapsulated or not.
    packet.frame.data = packet.ip - sizeof(net::Ethernet);
    packet.frame.length = packet.ip_bytes + static_cast<std::uint32_t>(sizeof(net::Ethernet));
    net::at<net::Ethernet>(packet.frame.data)->type =
        Be16::of(static_cast<std::uint16_t>(packet.family == Family::kIpv4 ? EtherType::kIpv4 : EtherType::kIpv6));
    tally.local_bytes += packet.ip_bytes;
    return true;
  }
  const OuterHeader& header = peers[block.encap_peer].header;
  if (header.size == 0) [[unlikely]] {
    packet.drop(DropReason::kNoLiveGateway);
    return false;
  }
  encap::Patch patch;
  patch.vni_word = block.vni_word;
  patch.inner_ip_bytes = packet.ip_bytes;
  patch.family = packet.family;
  patch.id = context.output.ip_id++;
  patch.source_port = block.outer_port;
  patch.ecn = encap::ecn_of(packet.ip, packet.family);
  encap::push(header, patch, packet.ip);
  packet.frame.data = packet.ip - header.size;
  packet.frame.length = packet.ip_bytes + header.size;
  ++tally.encapsulated;
  tally.fabric_bytes += packet.ip_bytes;
  return true;
}

}  // namespace isthmus
