// The parts of rewrite that few packets need: IPv6, ICMP, ICMP errors, packets that are dropped.
#include <algorithm>

#include <limits>

#include "dataplane/net/sctp_checksum.h"
#include "dataplane/originate/output.h"
#include "dataplane/packet/echo.h"
#include "dataplane/packet/header_chain.h"
#include "dataplane/packet/parse.h"
#include "dataplane/path/forward.h"

namespace isthmus {
namespace {

void write_address(std::uint8_t* ip, Family family, bool source, const IpAddress& address) noexcept {
  if (family == Family::kIpv4) {
    auto* header = net::at<net::Ipv4>(ip);
    (source ? header->source : header->destination) = address.as_ipv4();
  } else {
    auto* header = net::at<net::Ipv6>(ip);
    std::memcpy(source ? header->source : header->destination, address.bytes().data(), 16);
  }
}

// Writes the two ports of a header that has them, or the identifier of an ICMP echo.
void write_ports(std::uint8_t* l4, IpProtocol protocol, Be16 source, Be16 destination) noexcept {
  if (has_ports(protocol)) {
    auto* udp = net::at<net::Udp>(l4);
    udp->source = source;
    udp->destination = destination;
  } else if (is_icmp(protocol)) {
    net::at<net::Icmp>(l4)->id = echo_identifier(source, destination);
  }
}

// The IPv4 header's difference without that of the TTL.
std::uint16_t address_difference(const DirectionBlock& block) noexcept {
  constexpr std::uint16_t kOneHop = 0x0100;
  const bool hop = (block.flags & DirectionBlock::kDecrementTtl) != 0;
  return net::fold(std::uint64_t{block.ip_checksum_delta} + (hop ? Be16::of(kOneHop).wire() : 0u));
}

// False if the TTL is used up.
bool decrement_ttl(Packet& packet) noexcept {
  if (packet.family == Family::kIpv6) {
    auto* ip = net::at<net::Ipv6>(packet.ip);
    return ip->hop_limit > 1 && ip->hop_limit-- > 0;
  }
  auto* ip = net::at<net::Ipv4>(packet.ip);
  if (ip->ttl <= 1) {
    return false;
  }
  --ip->ttl;
  constexpr std::uint16_t kOneHop = 0x0100;  // the TTL is the upper byte of its 16-bit word
  ip->checksum = net::apply_difference(ip->checksum, static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()));
  return true;
}

// Of a protocol whose checksum covers the pseudo header, and that is none of the three with a checksum of its own kind.
void fix_pseudo_checksum(std::uint8_t* l4, std::uint16_t delta) noexcept {
  static_assert(offsetof(net::Udp, checksum) == 6, "as in UDP-Lite (RFC 3828) and DCCP (RFC 4340)");
  auto* like = net::at<net::Udp>(l4);
  const Be16 fixed = net::apply_difference(like->checksum, delta);
  like->checksum = fixed == Be16{} ? Be16::raw(0xffff) : fixed;  // as a sum, both are zero
}

// `bytes`: of the whole SCTP packet, of which only its header need be there.
void translate_sctp(std::uint8_t* l4, Be16 source, Be16 destination, std::uint32_t bytes) noexcept {
  std::uint32_t before = 0, after = 0, checksum = 0;
  std::memcpy(&before, l4, sizeof before);
  write_ports(l4, IpProtocol::kSctp, source, destination);
  std::memcpy(&after, l4, sizeof after);
  std::uint8_t* const at = l4 + offsetof(net::Sctp, checksum);
  std::memcpy(&checksum, at, sizeof checksum);
  checksum ^= net::sctp_checksum_difference(before ^ after, bytes);
  std::memcpy(at, &checksum, sizeof checksum);
}

// What of L4 changes with the translation. Protocols that we do not know are left as they are.
void translate_l4(Packet& packet, const DirectionBlock& block) noexcept {
  const std::uint32_t l4_bytes = packet.ip_bytes - static_cast<std::uint32_t>(packet.l4 - packet.ip);
  switch (packet.key.protocol) {
    case IpProtocol::kTcp:
    case IpProtocol::kUdp:
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6:
      write_ports(packet.l4, packet.key.protocol, block.source_port, block.destination_port);
      return fix_l4_checksum(packet.l4, packet.key.protocol, block.l4_checksum_delta);
    case IpProtocol::kSctp:
      return translate_sctp(packet.l4, block.source_port, block.destination_port, l4_bytes);
    case IpProtocol::kDccp:
    case IpProtocol::kUdpLite:
      if (l4_bytes >= sizeof(net::Udp)) {
        fix_pseudo_checksum(packet.l4, block.l4_checksum_delta);
      }
      return;
    default:
      return;
  }
}

// What no longer would be what its sender has sent: AH covers the addresses. The checksum of SCTP, which depends on the
// whole packet's length, cannot be changed by its first fragment alone.
bool is_translatable(const Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.key.protocol == IpProtocol::kAuthentication) {
    return false;
  }
  if (packet.key.protocol == IpProtocol::kSctp && packet.fragment != Fragment::kNone &&
      (block.source_port != packet.key.source_port || block.destination_port != packet.key.destination_port)) {
    return false;
  }
  HeaderChain chain;
  return packet.family == Family::kIpv4 || !is_extension_header(net::at<net::Ipv6>(packet.ip)->next_header) ||
         (!read_chain(packet.ip, packet.ip_bytes, chain) && !chain.authenticated);
}

void translate_packet(Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.family == Family::kIpv4) {
    auto* ip = net::at<net::Ipv4>(packet.ip);
    translate_ipv4_addresses(packet.ip, block);
    ip->checksum = net::apply_difference(ip->checksum, address_difference(block));
  } else {
    write_address(packet.ip, Family::kIpv6, true, block.ipv6_source);
    write_address(packet.ip, Family::kIpv6, false, block.ipv6_destination);
  }
  if (packet.fragment != Fragment::kLater) {  // a checksum in the first one covers the whole datagram
    translate_l4(packet, block);
  }
}

// Bytes of a header up to the end of its checksum; of what has none that we change by its difference, more than any
// quote has.
std::size_t l4_checksum_end(IpProtocol protocol) noexcept {
  switch (protocol) {
    case IpProtocol::kTcp:
      return offsetof(net::Tcp, checksum) + 2;
    case IpProtocol::kUdp:
      return offsetof(net::Udp, checksum) + 2;
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6:
      return offsetof(net::Icmp, checksum) + 2;
    default:
      return std::numeric_limits<std::uint32_t>::max();
  }
}

// Of the L4 packet that is quoted, as its IP header says; 0: it does not say. It is a fragment, or the header is wrong.
std::uint32_t quoted_l4_bytes(const std::uint8_t* quoted, std::uint32_t readable, Family family,
                              std::uint32_t header) noexcept {
  std::uint32_t bytes = 0;
  if (family == Family::kIpv4) {
    const auto* ip = net::at<net::Ipv4>(quoted);
    if ((ip->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) == 0) {
      bytes = ip->total_length.host();
    }
  } else {
    const auto* ip = net::at<net::Ipv6>(quoted);
    HeaderChain chain;
    if (!is_extension_header(ip->next_header) ||
        (!read_chain(quoted, readable, chain) && chain.fragment == Fragment::kNone)) {
      bytes = static_cast<std::uint32_t>(sizeof(net::Ipv6)) + ip->payload_length.host();
    }
  }
  return bytes >= header + sizeof(net::Sctp) ? bytes - header : 0;
}

// The ports, or an echo's identifier, of what is quoted, of which `readable` bytes are there, and its checksum if that
// is. SCTP's changes by the ports and the length of the packet alone, so that a quote's beginning is enough for it.
void translate_quoted_l4(std::uint8_t* quoted, std::uint32_t readable, const Packet& packet,
                         const DirectionBlock& block) noexcept {
  const IpProtocol protocol = packet.key.protocol;
  const std::uint32_t header = ip_header_bytes(quoted, packet.family);
  std::uint8_t* const l4 = quoted + header;
  if (protocol == IpProtocol::kSctp && readable - header >= sizeof(net::Sctp)) {
    if (const std::uint32_t bytes = quoted_l4_bytes(quoted, readable, packet.family, header); bytes != 0) {
      return translate_sctp(l4, block.destination_port, block.source_port, bytes);
    }
  }
  write_ports(l4, protocol, block.destination_port, block.source_port);
  if (l4_checksum_end(protocol) <= readable - header) {
    fix_l4_checksum(l4, protocol, block.l4_checksum_delta);  // the same words change
  }
}

// The quoted packet travelled in the opposite direction, so its source is this direction's destination and vice versa.
// The error's own source is kept unless it is the translated endpoint itself, or another address of ours that has an
// alias.
bool translate_error(const AliasTable& aliases, Packet& packet, const DirectionBlock& block) noexcept {
  if (!icmp_checksum_valid(packet)) {
    return false;
  }
  std::uint8_t* quoted = packet.l4 + sizeof(net::Icmp);
  const bool v4 = packet.family == Family::kIpv4;
  write_address(quoted, packet.family, true, block.destination(packet.family));
  write_address(quoted, packet.family, false, block.source(packet.family));
  translate_quoted_l4(quoted, static_cast<std::uint32_t>(packet.ip + packet.ip_bytes - quoted), packet, block);
  const IpAddress outer_source = sender_of(packet);
  const IpAddress from =
      outer_source == packet.key.source() ? block.source(packet.family) : aliases.to_alias(outer_source);
  write_address(packet.ip, packet.family, true, from);
  write_address(packet.ip, packet.family, false, block.destination(packet.family));

  const auto l4_bytes = packet.ip_bytes - static_cast<std::uint32_t>(packet.l4 - packet.ip);
  auto* icmp = net::at<net::Icmp>(packet.l4);
  icmp->checksum = Be16{};
  if (v4) {
    auto* inner = net::at<net::Ipv4>(quoted);
    inner->checksum = net::apply_difference(inner->checksum, address_difference(block));
    auto* outer = net::at<net::Ipv4>(packet.ip);
    outer->checksum = Be16{};
    outer->checksum = Be16::raw(net::checksum(packet.ip, outer->header_bytes()));
    icmp->checksum = Be16::raw(net::checksum(packet.l4, l4_bytes));
  } else {
    icmp->checksum = Be16::raw(
        net::checksum(packet.l4, l4_bytes,
                      net::pseudo_header_sum(from, block.destination(packet.family), IpProtocol::kIcmpv6, l4_bytes)));
  }
  return true;
}

}  // namespace

bool icmp_checksum_valid(const Packet& packet) noexcept {
  const auto bytes = packet.ip_bytes - static_cast<std::uint32_t>(packet.l4 - packet.ip);
  std::uint64_t pseudo = 0;
  if (packet.family == Family::kIpv6) {
    const auto* ip = net::at<net::Ipv6>(packet.ip);
    pseudo = net::pseudo_header_sum(IpAddress::ipv6(ip->source), IpAddress::ipv6(ip->destination), IpProtocol::kIcmpv6,
                                    bytes);
  }
  return net::checksum(packet.l4, bytes, pseudo) == 0;
}

void drop_oversize(PathContext& context, Packet& packet, std::uint32_t mtu) noexcept {
  const bool v4 = packet.family == Family::kIpv4;
  if (!v4 || (net::at<net::Ipv4>(packet.ip)->fragment.host() & net::Ipv4::kDontFragment) != 0) {
    tell_sender(context, packet, IcmpError::kTooBig, Bytes{v4 ? mtu : std::max(mtu, kLeastIpv6Mtu)});
  }
  packet.drop(DropReason::kOversize);
}

void drop_expired(PathContext& context, Packet& packet) noexcept {
  tell_sender(context, packet, IcmpError::kTimeExceeded, Bytes{0});
  packet.drop(DropReason::kTtlExceeded);
}

bool rewrite(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept {
  if ((block.flags & DirectionBlock::kDecrementTtl) != 0 && !decrement_ttl(packet)) {
    drop_expired(context, packet);
    return false;
  }
  if ((block.flags & DirectionBlock::kRewrite) == 0) {
    return true;
  }
  if (!packet.icmp_error) {
    if (!is_translatable(packet, block)) {
      packet.drop(DropReason::kUntranslatable);
      return false;
    }
    translate_packet(packet, block);
  } else if (!translate_error(context.snapshot->aliases, packet, block)) {
    packet.drop(DropReason::kIcmpInvalid);
    return false;
  }
  return true;
}

}  // namespace isthmus
