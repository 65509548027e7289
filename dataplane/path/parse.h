// Header parsing, shared by parse (outer) and decap (inner). Every length is checked against the frame before a field
// is read. Pure functions of the packet.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>

#include "dataplane/net/headers.h"
#include "dataplane/path/packet.h"

namespace isthmus {

// Reads the Ethernet and IP header at `ethernet` (inside packet.frame): sets ip, family and ip_bytes;
// Ethernet padding behind the packet is left out of ip_bytes.
[[nodiscard]] std::optional<DropReason> parse_ethernet(Packet& packet, std::uint8_t* ethernet) noexcept;

// Reads the L4 header behind packet.ip: sets l4, tcp_flags, icmp_error and key.
[[nodiscard]] std::optional<DropReason> parse_flow(Packet& packet, Realm realm) noexcept;

// The source in the packet's own IP header: of an ICMP error, who reports it (the key is the connection's). Needs `ip`
// and `family`.
[[nodiscard]] IpAddress sender_of(const Packet& packet) noexcept;

// Fast path of the two above, without the key, for nearly every packet: IPv4 without options or fragments, TCP or UDP,
// all lengths valid. False for anything else; the caller then uses the other two, which also give the drop reason.
[[nodiscard]] inline bool parse_plain_ipv4(Packet& packet, std::uint8_t* ethernet) noexcept {
  static_assert(std::endian::native == std::endian::little);
  // Bytes of the Ethernet type and the first two of IPv4 without options (the second, the type of service, is ignored).
  constexpr std::uint32_t kPlainIpv4 = 0x00450008, kPlainIpv4Mask = 0x00ffffff;
  constexpr std::uint32_t kMin = sizeof(net::Ethernet) + sizeof(net::Ipv4) + sizeof(net::Udp);
  const auto available = static_cast<std::uint32_t>(packet.frame.data + packet.frame.length - ethernet);
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
  if (ip->protocol == static_cast<std::uint8_t>(IpProtocol::kTcp)) [[likely]] {
    const auto* tcp = net::at<net::Tcp>(l4);
    const std::uint32_t header = (tcp->offset >> 2) & 0x3cu;  // the upper four bits count 32-bit words
    if (bytes < sizeof(net::Ipv4) + sizeof(net::Tcp) || header < sizeof(net::Tcp) || header + sizeof(net::Ipv4) > bytes)
        [[unlikely]] {
      return false;
    }
    packet.tcp_flags = tcp->flags;
  } else if (ip->protocol == static_cast<std::uint8_t>(IpProtocol::kUdp)) {
    const std::uint32_t length = net::at<net::Udp>(l4)->length.host();
    if (length < sizeof(net::Udp) || length + sizeof(net::Ipv4) > bytes) [[unlikely]] {
      return false;
    }
  } else {
    return false;
  }
  packet.family = Family::kIpv4;
  packet.ip = at;
  packet.l4 = l4;
  packet.ip_bytes = bytes;
  return true;
}

// Sets the key of a packet for which parse_plain_ipv4() returned true.
inline void write_plain_key(Packet& packet, Realm realm) noexcept {
  const auto protocol = static_cast<IpProtocol>(net::at<net::Ipv4>(packet.ip)->protocol);
  FlowKey::write_ipv4(packet.key, packet.ip + offsetof(net::Ipv4, source), protocol, realm);
}

// Hashes the packet's key and prefetches the bucket of the connection table that lookup will read.
inline void prefetch_connection(const FlowTable& flows, Packet& packet) noexcept {
  packet.hash = flows.hash(packet.key);
  flows.prefetch_bucket(packet.hash);
}

}  // namespace isthmus
