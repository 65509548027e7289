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

// Writes the outer header in front of the inner IP packet, of `family`. The headroom is proved in path.h.
inline void push_header(const OuterHeader& header, const Packet& packet, const DirectionBlock& block, Family family,
                        std::uint16_t id) noexcept {
  encap::Patch patch;
  patch.vni_word = block.vni_word;
  patch.inner_ip_bytes = packet.ip_bytes;
  patch.family = family;
  patch.id = id;
  patch.source_port = block.outer_port;
  patch.ecn = encap::ecn_of(packet.ip, family);
  encap::push(header, patch, packet.ip);
}

// Of the DSR option that the packet takes: with Cilium, of TCP a SYN, of UDP all, fragments too; and no ICMP error.
[[nodiscard]] inline std::uint32_t option_bytes(const Packet& packet, const DirectionBlock& block,
                                                const OuterHeader& header) noexcept {
  const bool asks = packet.key.protocol != IpProtocol::kTcp || (packet.tcp_flags & tcp_flag::kSyn) != 0;
  const bool takes = (block.flags & DirectionBlock::kDsrOption) != 0 && asks && !packet.icmp_error &&
                     header.kind == EncapsulationKind::kGeneve;
  return takes ? encap::Geneve::dsr_option_bytes(packet.family) : 0;
}

// An Ethernet header directly precedes the IP header, whether the packet was decapsulated or not.
inline void write_local_type(std::uint8_t* ip, Family family) noexcept {
  net::at<net::Ethernet>(ip - sizeof(net::Ethernet))->type =
      Be16::of(static_cast<std::uint16_t>(family == Family::kIpv4 ? EtherType::kIpv4 : EtherType::kIpv6));
}

}  // namespace isthmus
