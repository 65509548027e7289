// VXLAN over an IPv4 underlay (RFC 7348) as Cilium sends it: the peer's UDP port, VNI = source identity, outer TTL 64,
// no DF, zero UDP checksum, source port from the flow's hash, ECN by RFC 6040.
//
// The complete outer header, inner Ethernet header included, is prebuilt per peer; push() copies it and patches length,
// id, checksum, entropy, ECN and VNI. Another encapsulation is another file like this one and a line in encap.h.
// Threads: control builds headers, workers call push(). Pure functions of their arguments.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace isthmus {

struct VxlanIpv4 {
  static constexpr std::uint32_t kHeaderBytes =
      sizeof(net::Ethernet) + sizeof(net::Ipv4) + sizeof(net::Udp) + sizeof(net::Vxlan) + sizeof(net::Ethernet);
  static_assert(kHeaderBytes == 64, "one cache line");
  // Bytes by which the underlay IP packet is longer than the inner IP packet.
  static constexpr std::uint32_t kOverhead = kHeaderBytes - sizeof(net::Ethernet);
  static_assert(kOverhead == 50, "as in Cilium for VXLAN over IPv4");

  // Layout: Ethernet (addresses zero, written later from the adjacency), IPv4, UDP, VXLAN, inner Ethernet.
  struct alignas(64) Header {
    std::array<std::uint8_t, kHeaderBytes> bytes{};
  };

  static constexpr std::size_t kIpOffset = sizeof(net::Ethernet);
  static constexpr std::size_t kUdpOffset = kIpOffset + sizeof(net::Ipv4);
  static constexpr std::size_t kVxlanOffset = kUdpOffset + sizeof(net::Udp);
  static constexpr std::size_t kInnerOffset = kVxlanOffset + sizeof(net::Vxlan);

  // The inner MAC address of a tunnel end: 02:49 followed by its IPv4 address.
  [[nodiscard]] static MacAddress inner_mac(const IpAddress& tunnel_end) noexcept;
  // Precondition: both addresses are IPv4.
  [[nodiscard]] static Header build(const IpAddress& from, const IpAddress& to, L4Port port) noexcept;

  struct Patch {
    Vni vni;
    std::uint32_t inner_ip_bytes = 0;
    Family family = Family::kIpv4;  // of the inner packet
    Be16 id;
    std::uint16_t entropy = 0;
    std::uint8_t ecn = 0;
  };
  // Writes kHeaderBytes bytes to `at`, which directly precede the inner IP header.
  static void push(const Header& header, const Patch& patch, std::uint8_t* at) noexcept {
    std::memcpy(at, header.bytes.data(), kHeaderBytes);
    auto* ip = net::at<net::Ipv4>(at + kIpOffset);
    auto* udp = net::at<net::Udp>(at + kUdpOffset);
    const auto total = static_cast<std::uint16_t>(patch.inner_ip_bytes + kOverhead);
    ip->tos = patch.ecn;
    ip->total_length = Be16::of(total);
    ip->id = patch.id;
    // The prebuilt checksum covers the header with these three fields zero.
    const auto* prebuilt = reinterpret_cast<const net::Ipv4*>(header.bytes.data() + kIpOffset);
    std::uint32_t sum = static_cast<std::uint16_t>(~prebuilt->checksum.wire());
    sum += Be16::of(patch.ecn).wire();
    sum += Be16::of(total).wire();
    sum += patch.id.wire();
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    ip->checksum = Be16::raw(static_cast<std::uint16_t>(~sum));
    udp->source = Be16::of(static_cast<std::uint16_t>(0xc000u | (patch.entropy & 0x3fffu)));
    udp->length = Be16::of(static_cast<std::uint16_t>(total - sizeof(net::Ipv4)));
    net::at<net::Vxlan>(at + kVxlanOffset)->vni = Be32::of(patch.vni.value() << 8);
    if (patch.family != Family::kIpv4) {
      net::at<net::Ethernet>(at + kInnerOffset)->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv6));
    }
  }
};

}  // namespace isthmus
