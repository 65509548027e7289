// rewrite: applies the decision to the inner packet: translation, TTL, incremental checksum updates. A packet that
// exceeds the MTU is dropped here, while it is still as its sender sent it, so that an ICMP error can quote it. One
// packet at a time, as part of send().
#pragma once

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/packet.h"
#include "dataplane/path/context.h"

namespace isthmus::rewriting {

// The parts that few packets need (rewrite.cc).
// Drops the packet and sends an ICMP error to its source if it must not be fragmented (DF, or IPv6).
void drop_oversize(PathContext& context, Packet& packet, std::uint32_t mtu) noexcept;
// IPv6, and ICMP of both families.
void translate_other(Packet& packet, const DirectionBlock& block) noexcept;
// An ICMP error about a translated connection.
void translate_error(Packet& packet, const DirectionBlock& block) noexcept;

// The longest IP packet, in bytes, that the outgoing link can carry.
[[nodiscard]] inline std::uint32_t mtu_of(const PathContext& context, const DirectionBlock& block) noexcept {
  const std::uint32_t mtu = context.shared.adjacencies.mtu(block.device).value();
  return block.to == Side::kFabric ? mtu - (*context.snapshot->peers)[block.encap_peer].header.overhead : mtu;
}

// Counts hops as Cilium does: local delivery takes one, entering the tunnel takes none. Forwarding from tunnel to
// tunnel takes one too, so that a loop ends. False if the TTL is used up.
[[nodiscard]] inline bool decrement_ttl(Packet& packet, const DirectionBlock& block) noexcept {
  if (block.from == Side::kLocal && block.to == Side::kFabric) {
    return true;
  }
  if (packet.family == Family::kIpv6) [[unlikely]] {
    auto* ip = net::at<net::Ipv6>(packet.ip);
    return ip->hop_limit > 1 && ip->hop_limit-- > 0;
  }
  auto* ip = net::at<net::Ipv4>(packet.ip);
  if (ip->ttl <= 1) [[unlikely]] {
    return false;
  }
  --ip->ttl;
  constexpr std::uint16_t kOneHop = 0x0100;  // the TTL is the upper byte of its 16-bit word
  ip->checksum = net::apply_difference(ip->checksum, static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()));
  return true;
}

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
  auto* ip = net::at<net::Ipv4>(at);
  std::memcpy(at + offsetof(net::Ipv4, source), from, 8);
  ip->checksum = net::apply_difference(ip->checksum, block.ip_checksum_delta);
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

inline void translate(Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.icmp_error) [[unlikely]] {
    translate_error(packet, block);
  } else if (packet.family == Family::kIpv4 && packet.key.protocol != IpProtocol::kIcmp) [[likely]] {
    translate_ipv4(packet, block);
  } else {
    translate_other(packet, block);
  }
}

// False: the packet has been dropped.
[[nodiscard]] inline bool rewrite(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept {
  if (const std::uint32_t mtu = mtu_of(context, block); packet.ip_bytes > mtu) [[unlikely]] {
    drop_oversize(context, packet, mtu);
    return false;
  }
  if (!decrement_ttl(packet, block)) [[unlikely]] {
    packet.drop(DropReason::kTtlExceeded);
    return false;
  }
  if (!packet.icmp_error) [[likely]] {
    context.shared.flows->account_packet(context.worker, packet.hit, context.now, Bytes{packet.ip_bytes},
                                         packet.tcp_flags);
  }
  if (block.flags != 0) {
    translate(packet, block);
  }
  return true;
}

}  // namespace isthmus::rewriting
