// The one's complement sum of a whole IP packet, for the UDP checksum of a tunnel over IPv6, without reading its
// payload where that can be avoided: a valid checksum says what it covers. An IPv4 header with its checksum sums to
// zero. So do TCP, UDP and ICMPv6 together with their pseudo-header, that is, they sum to its complement; ICMP sums to
// zero alone. In IPv6 the addresses of header and pseudo-header cancel out.
//
// A packet whose own checksum is wrong thereby gets a wrong outer one, and its receiver drops it there rather than
// further in. UDP without a checksum, fragments, and what is not known here are summed up.
// Hot path, pure functions. Sums are of words as loaded from the wire, not folded.
#pragma once

#include <cstdint>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace isthmus::encap {

// Complements every 16-bit word of a value, which negates its one's complement sum.
[[nodiscard]] inline std::uint64_t negated(std::uint64_t value, std::uint64_t ones) noexcept { return value ^ ones; }

// Whether the L4 checksum at `l4` covers all of the `bytes` bytes from there.
[[nodiscard]] inline bool checksum_covers(IpProtocol protocol, const std::uint8_t* l4, std::uint32_t bytes) noexcept {
  if (protocol == IpProtocol::kTcp) [[likely]] {
    return bytes >= sizeof(net::Tcp);
  }
  if (protocol == IpProtocol::kUdp) {
    const auto* udp = net::at<net::Udp>(l4);
    return bytes >= sizeof(net::Udp) && udp->checksum.wire() != 0 && udp->length.host() == bytes;
  }
  return false;
}

[[nodiscard]] inline std::uint64_t inner_sum_ipv4(const std::uint8_t* at, std::uint32_t bytes) noexcept {
  const auto* ip = net::at<net::Ipv4>(at);
  const auto protocol = static_cast<IpProtocol>(ip->protocol);
  const std::uint32_t header = ip->header_bytes();
  const bool fragment = (ip->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0;
  if (fragment || header < sizeof(net::Ipv4) || bytes < header) [[unlikely]] {
    return net::partial_sum(at, bytes);
  }
  const std::uint32_t l4_bytes = bytes - header;
  if (protocol == IpProtocol::kIcmp) {
    return l4_bytes >= sizeof(net::Icmp) ? 0 : net::partial_sum(at, bytes);
  }
  if (!checksum_covers(protocol, at + header, l4_bytes)) [[unlikely]] {
    return net::partial_sum(at, bytes);
  }
  constexpr std::uint32_t kWord = 0xffffffff, kHalf = 0xffff;
  return negated(ip->source.wire(), kWord) + negated(ip->destination.wire(), kWord) +
         negated(Be16::of(ip->protocol).wire(), kHalf) +
         negated(Be16::of(static_cast<std::uint16_t>(l4_bytes)).wire(), kHalf);
}

[[nodiscard]] inline std::uint64_t inner_sum_ipv6(const std::uint8_t* at, std::uint32_t bytes) noexcept {
  if (bytes < sizeof(net::Ipv6)) [[unlikely]] {
    return net::partial_sum(at, bytes);
  }
  const auto* ip = net::at<net::Ipv6>(at);
  const auto protocol = static_cast<IpProtocol>(ip->next_header);
  const std::uint32_t l4_bytes = bytes - static_cast<std::uint32_t>(sizeof(net::Ipv6));
  const bool covered = protocol == IpProtocol::kIcmpv6 ? l4_bytes >= sizeof(net::Icmp)
                                                       : checksum_covers(protocol, at + sizeof(net::Ipv6), l4_bytes);
  if (!covered || ip->payload_length.host() != l4_bytes) [[unlikely]] {
    return net::partial_sum(at, bytes);
  }
  // Lengths cancel out too. What remains is the first word, next header and hop limit, and the protocol's complement.
  constexpr std::uint32_t kHalf = 0xffff;
  return std::uint64_t{ip->version_class_flow.wire()} +
         Be16::of(static_cast<std::uint16_t>(ip->next_header << 8 | ip->hop_limit)).wire() +
         negated(Be16::of(ip->next_header).wire(), kHalf);
}

[[nodiscard]] inline std::uint64_t inner_sum(const std::uint8_t* ip, std::uint32_t bytes, Family family) noexcept {
  return family == Family::kIpv4 ? inner_sum_ipv4(ip, bytes) : inner_sum_ipv6(ip, bytes);
}

}  // namespace isthmus::encap
