// Encapsulations: what is known of a kind of tunnel stands in its one file in this folder; this file lists them.
//
// A peer's outer header is prebuilt by build() on the control thread and stored in its PeerRecord; push() copies it in
// front of the inner IP packet and patches length, identification, checksum, entropy, ECN, VNI and the inner Ethernet
// type. VXLAN and Geneve without options have their VNI at the same place and the same size, so push() is one for both.
// Pure functions of their arguments.
#pragma once

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/outer_header.h"

namespace isthmus::encap {

// Bytes from the start of the tunnel header to the inner IP header, for a tunnel header of eight bytes.
inline constexpr std::uint32_t kTunnelHeaderBytes = 8;
inline constexpr std::uint32_t kBehindUdp = kTunnelHeaderBytes + sizeof(net::Ethernet);
inline constexpr std::uint32_t kIpv4Bytes = sizeof(net::Ethernet) + sizeof(net::Ipv4) + sizeof(net::Udp) + kBehindUdp;
inline constexpr std::uint32_t kIpv6Bytes = sizeof(net::Ethernet) + sizeof(net::Ipv6) + sizeof(net::Udp) + kBehindUdp;
static_assert(kIpv4Bytes == 64 && kIpv6Bytes == 84);

// The outer header from `from` to the tunnel end `to`. Precondition: both are of one family.
[[nodiscard]] OuterHeader build(const IpAddress& from, const IpAddress& to, L4Port port) noexcept;

struct Patch {
  std::uint32_t vni_word = 0;  // as on the wire: the VNI in the upper three bytes
  std::uint32_t inner_ip_bytes = 0;
  Family family = Family::kIpv4;  // of the inner packet
  std::uint16_t id = 0;           // of the outer IPv4 header, as on the wire
  Be16 source_port;               // entropy
  std::uint8_t ecn = 0;
};

// Writes header.size bytes that end at the inner IP header at `inner`. Needs kIpv4Bytes or kIpv6Bytes of headroom.
inline void push(const OuterHeader& header, const Patch& patch, std::uint8_t* inner) noexcept {
  std::uint8_t* const at = inner - kIpv4Bytes;
  std::memcpy(at, header.bytes.data(), kIpv4Bytes);
  auto* ip = net::at<net::Ipv4>(at + sizeof(net::Ethernet));
  auto* udp = net::at<net::Udp>(at + sizeof(net::Ethernet) + sizeof(net::Ipv4));
  const auto total = static_cast<std::uint16_t>(patch.inner_ip_bytes + header.overhead);
  ip->total_length = Be16::of(total);
  ip->id = Be16::raw(patch.id);
  std::uint32_t sum = header.sum + Be16::of(total).wire() + patch.id;
  if (patch.ecn != 0) {
    ip->tos = patch.ecn;
    sum += Be16::of(patch.ecn).wire();
  }
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  ip->checksum = Be16::raw(static_cast<std::uint16_t>(~sum));
  udp->source = patch.source_port;
  udp->length = Be16::of(static_cast<std::uint16_t>(total - sizeof(net::Ipv4)));
  std::memcpy(inner - kBehindUdp + 4, &patch.vni_word, sizeof patch.vni_word);
  if (patch.family != Family::kIpv4) {
    net::at<net::Ethernet>(inner - sizeof(net::Ethernet))->type =
        Be16::of(static_cast<std::uint16_t>(EtherType::kIpv6));
  }
}

[[nodiscard]] inline std::uint8_t ecn_of(const std::uint8_t* ip, Family family) noexcept {
  return family == Family::kIpv4 ? static_cast<std::uint8_t>(ip[1] & 3) : static_cast<std::uint8_t>((ip[1] >> 4) & 3);
}

// A flow's outer UDP source port: 49152 to 65535 (RFC 7348 section 5).
[[nodiscard]] inline Be16 entropy_port(std::uint32_t hash) noexcept {
  return Be16::of(static_cast<std::uint16_t>(0xc000u | (hash & 0x3fffu)));
}
[[nodiscard]] inline std::uint32_t vni_word(Vni vni) noexcept { return Be32::of(vni.value() << 8).wire(); }

}  // namespace isthmus::encap
