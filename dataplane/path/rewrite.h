// rewrite: applies the decision to the inner packet: translation, TTL, incremental checksum updates. What is dropped
// here, or before because it exceeds the MTU, is still as its sender sent it, so that an ICMP error can quote it. One
// packet at a time, as part of forward.
#pragma once

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/path/context.h"

namespace isthmus {

// No link may carry less, and no sender takes less from an ICMP error (RFC 8200 section 5, RFC 8201 section 4).
inline constexpr std::uint32_t kLeastIpv6Mtu = 1280;

// The parts that few packets need (rewrite_slow.cc).
// Drops a packet that is too long and sends an ICMP error to its source if it must not be fragmented (DF, or IPv6).
void drop_oversize(PathContext& context, Packet& packet, std::uint32_t mtu) noexcept;
// A packet whose TTL is used up.
void drop_expired(PathContext& context, Packet& packet) noexcept;
// Any packet: IPv6, ICMP of both families, ICMP errors about a translated connection too. False: the packet has been
// dropped.
[[nodiscard]] bool rewrite(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept;

inline void fix_l4_checksum(std::uint8_t* l4, IpProtocol protocol, std::uint16_t delta) noexcept {
  if (protocol == IpProtocol::kTcp) [[likely]] {
    auto* tcp = net::at<net::Tcp>(l4);
    tcp->checksum = net::apply_difference(tcp->checksum, delta);
  } else if (protocol == IpProtocol::kUdp) {
    auto* udp = net::at<net::Udp>(l4);
    if (udp->checksum != Be16{}) {  // zero means none (RFC 768)
      const Be16 fixed = net::apply_difference(udp->checksum, delta);
      udp->checksum = fixed == Be16{} ? Be16::raw(0xffff) : fixed;
    }
  } else {
    auto* icmp = net::at<net::Icmp>(l4);
    icmp->checksum = net::apply_difference(icmp->checksum, delta);
  }
}

// Source and destination are adjacent in the block as they are in the header, so one copy writes both.
inline void translate_ipv4_addresses(std::uint8_t* at, const DirectionBlock& block) noexcept {
  static_assert(offsetof(DirectionBlock, ipv4_destination) == offsetof(DirectionBlock, ipv4_source) + 4 &&
                offsetof(net::Ipv4, destination) == offsetof(net::Ipv4, source) + 4);
  const auto* from = reinterpret_cast<const std::uint8_t*>(&block) + offsetof(DirectionBlock, ipv4_source);
  std::memcpy(at + offsetof(net::Ipv4, source), from, 8);
}

// IPv4 with TCP or UDP; the two ports are adjacent in the same way.
inline void translate_ipv4(Packet& packet, const DirectionBlock& block) noexcept {
  static_assert(offsetof(DirectionBlock, destination_port) == offsetof(DirectionBlock, source_port) + 2 &&
                offsetof(net::Udp, destination) == offsetof(net::Udp, source) + 2);
  translate_ipv4_addresses(packet.ip, block);
  const auto* from = reinterpret_cast<const std::uint8_t*>(&block) + offsetof(DirectionBlock, source_port);
  std::memcpy(packet.l4, from, 4);
  fix_l4_checksum(packet.l4, packet.key.protocol, block.l4_checksum_delta);
}

// For an ordinary packet. False: the TTL is used up; the packet is unchanged.
[[nodiscard]] inline bool rewrite_ordinary(Packet& packet, const DirectionBlock& block) noexcept {
  constexpr std::uint8_t kAny = DirectionBlock::kRewrite | DirectionBlock::kDecrementTtl;
  if ((block.flags & kAny) == 0) {
    return true;
  }
  auto* ip = net::at<net::Ipv4>(packet.ip);
  if ((block.flags & DirectionBlock::kDecrementTtl) != 0) {
    if (ip->ttl <= 1) [[unlikely]] {
      return false;
    }
    --ip->ttl;
  }
  if ((block.flags & DirectionBlock::kRewrite) != 0) {
    translate_ipv4(packet, block);
  }
  ip->checksum = net::apply_difference(ip->checksum, block.ip_checksum_delta);  // the TTL's difference included
  return true;
}

}  // namespace isthmus
