// Header parsing, shared by parse (outer) and decap (inner). Every length is checked against the frame before a field
// is read. Pure functions of the packet.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>

#include "dataplane/net/headers.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

// Reads the Ethernet and IP header at `ethernet` (inside packet.frame): sets ip, family and ip_bytes;
// Ethernet padding behind the packet is left out of ip_bytes.
[[nodiscard]] std::optional<DropReason> parse_ethernet(Packet& packet, std::uint8_t* ethernet) noexcept;

// Reads the L4 header behind packet.ip and its options or extension headers: sets l4, tcp_flags, icmp_error, fragment
// and key. The key of a later fragment has no ports, nor has one of a protocol without ports.
[[nodiscard]] std::optional<DropReason> parse_flow(Packet& packet, Realm realm) noexcept;

// Where in its datagram a fragment lies. Bytes of what is fragmented, headers that are in every fragment left out.
struct FragmentPart {
  std::uint32_t id = 0;
  IpProtocol protocol{};  // of IPv6, where it may differ between fragments: kIpv6Fragment
  std::uint32_t offset = 0, bytes = 0;
  const std::uint8_t* data = nullptr;
  bool more = false;  // it is not the last one
};
// For a packet whose Ethernet and IP headers have been parsed. nullopt: it is whole. One that is a datagram by itself
// although it has a fragment header counts as whole (RFC 6946).
[[nodiscard]] std::optional<FragmentPart> fragment_part(const Packet& packet) noexcept;

// Bytes of the IP header at `ip`, which has been read before: with IPv4's options and IPv6's extension headers.
[[nodiscard]] std::uint32_t ip_header_bytes(const std::uint8_t* ip, Family family) noexcept;

// The source in the packet's own IP header: of an ICMP error, who reports it (the key is the connection's). Needs `ip`
// and `family`.
[[nodiscard]] IpAddress sender_of(const Packet& packet) noexcept;
// The destination in it.
[[nodiscard]] IpAddress destination_of(const Packet& packet) noexcept;

// Fast path of the two above, without the key, for nearly every packet: IPv4 without options or fragments, TCP or UDP,
// all lengths valid. Needs no begin(). False for anything else; the caller then uses the other two, which also give the
// drop reason. `available`: bytes from `ethernet` to the end of the frame.
[[nodiscard]] inline bool parse_plain_ipv4(Packet& packet, std::uint8_t* ethernet, std::uint32_t available) noexcept {
  static_assert(std::endian::native == std::endian::little);
  // Bytes of the Ethernet type and the first two of IPv4 without options (the second, the type of service, is ignored).
  constexpr std::uint32_t kPlainIpv4 = 0x00450008, kPlainIpv4Mask = 0x00ffffff;
  constexpr std::uint32_t kMin = sizeof(net::Ethernet) + sizeof(net::Ipv4) + sizeof(net::Udp);
  if (available < kMin) [[unlikely]] {
    return false;
  }
  std::uint32_t start = 0;
  std::memcpy(&start, ethernet + offsetof(net::Ethernet, type), sizeof start);
  std::uint8_t* const at = ethernet + sizeof(net::Ethernet);
  const auto* ip = net::at<net::Ipv4>(at);
  const std::uint32_t bytes = ip->total_length.host();
  if ((start & kPlainIpv4Mask) != kPlainIpv4 ||
      (ip->fragment.wire() & Be16::of(net::Ipv4::kMoreFragmentsAndOffset).wire()) != 0 ||
      bytes > available - sizeof(net::Ethernet)) [[unlikely]] {
    return false;
  }
  std::uint8_t* const l4 = at + sizeof(net::Ipv4);
  std::uint8_t flags = 0;
  if (ip->protocol == static_cast<std::uint8_t>(IpProtocol::kTcp)) [[likely]] {
    const auto* tcp = net::at<net::Tcp>(l4);
    constexpr std::uint32_t kHeaders = sizeof(net::Ipv4) + sizeof(net::Tcp);
    const std::uint32_t header = (tcp->offset >> 2) & 0x3cu;  // the upper four bits count 32-bit words
    if (bytes < kHeaders || header - sizeof(net::Tcp) > bytes - kHeaders) [[unlikely]] {  // a shorter header wraps
      return false;
    }
    flags = tcp->flags;
  } else if (ip->protocol == static_cast<std::uint8_t>(IpProtocol::kUdp)) {
    const std::uint32_t length = net::at<net::Udp>(l4)->length.host();
    if (length < sizeof(net::Udp) || length + sizeof(net::Ipv4) > bytes) [[unlikely]] {
      return false;
    }
  } else {
    return false;
  }
  packet.begin(flags);
  packet.ip = at;
  packet.l4 = l4;
  packet.ip_bytes = bytes;
  return true;
}

// The words of the key of a packet for which parse_plain_ipv4() returned true. `space`: FlowKey::ipv4_space().
[[nodiscard]] inline FlowKey::Ipv4Words plain_key(const Packet& packet, std::uint64_t space) noexcept {
  const auto protocol = static_cast<IpProtocol>(net::at<net::Ipv4>(packet.ip)->protocol);
  return FlowKey::ipv4_words(packet.ip + offsetof(net::Ipv4, source), protocol, space);
}

}  // namespace isthmus
