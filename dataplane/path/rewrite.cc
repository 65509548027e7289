// rewrite: carries the decision out on the inner packet: translation, TTL, checksums by difference. What is too long
// for the way out is refused here, while the packet still looks as its sender made it.
#include "dataplane/path/context.h"
#include "dataplane/path/output.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// Bytes of IP packet that the way out can carry.
std::uint32_t mtu_of(const PathContext& context, const DirectionBlock& block) noexcept {
  const std::uint32_t mtu = context.shared.adjacencies.mtu(block.device).value();
  return block.to == Side::kFabric ? mtu - Encapsulation::kOverhead : mtu;
}

// The source is told where the packet forbids fragments; IPv6 always does.
void refuse_oversize(PathContext& context, Packet& packet, std::uint32_t mtu) noexcept {
  const bool tell = packet.family == Family::kIpv6 ||
                    (net::at<net::Ipv4>(packet.ip)->fragment.host() & net::Ipv4::kDontFragment) != 0;
  if (tell) {
    send_icmp_error(context, packet, IcmpError::kTooBig, Bytes{mtu});
  }
  packet.drop(DropReason::k_oversize);
}

// As Cilium counts hops: the node that delivers locally takes one, the tunnel's entry none. Passing on from tunnel to
// tunnel takes one too, so that a loop ends. False when it is used up.
bool take_hop(Packet& packet, const DirectionBlock& block) noexcept {
  if (block.from == Side::kLocal && block.to == Side::kFabric) {
    return true;
  }
  if (packet.family == Family::kIpv6) {
    auto* ip = net::at<net::Ipv6>(packet.ip);
    return ip->hop_limit > 1 && ip->hop_limit-- > 0;
  }
  auto* ip = net::at<net::Ipv4>(packet.ip);
  if (ip->ttl <= 1) {
    return false;
  }
  --ip->ttl;
  constexpr std::uint16_t kOneHop = 0x0100;  // TTL is the upper byte of its word
  ip->checksum = net::apply_difference(ip->checksum, static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()));
  return true;
}

void write_address(std::uint8_t* ip, Family family, bool source, const IpAddress& address) noexcept {
  if (family == Family::kIpv4) {
    auto* header = net::at<net::Ipv4>(ip);
    (source ? header->source : header->destination) = address.as_ipv4();
  } else {
    auto* header = net::at<net::Ipv6>(ip);
    std::memcpy(source ? header->source : header->destination, address.bytes().data(), 16);
  }
}

// The two words at the start of a TCP or UDP header; the identifier of an ICMP echo.
void write_ports(std::uint8_t* l4, IpProtocol protocol, Be16 source, Be16 destination) noexcept {
  if (protocol == IpProtocol::kTcp || protocol == IpProtocol::kUdp) {
    auto* udp = net::at<net::Udp>(l4);
    udp->source = source;
    udp->destination = destination;
  } else {
    net::at<net::Icmp>(l4)->id = source != Be16{} ? source : destination;
  }
}

void fix_l4_checksum(std::uint8_t* l4, IpProtocol protocol, std::uint16_t delta) noexcept {
  switch (protocol) {
    case IpProtocol::kTcp: {
      auto* tcp = net::at<net::Tcp>(l4);
      tcp->checksum = net::apply_difference(tcp->checksum, delta);
      break;
    }
    case IpProtocol::kUdp: {
      auto* udp = net::at<net::Udp>(l4);
      if (udp->checksum != Be16{}) {  // zero means none (RFC 768)
        const Be16 fixed = net::apply_difference(udp->checksum, delta);
        udp->checksum = fixed == Be16{} ? Be16::raw(0xffff) : fixed;
      }
      break;
    }
    default: {
      auto* icmp = net::at<net::Icmp>(l4);
      icmp->checksum = net::apply_difference(icmp->checksum, delta);
    }
  }
}

void translate(Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.family == Family::kIpv4) {
    auto* ip = net::at<net::Ipv4>(packet.ip);
    ip->source = block.ipv4_source;
    ip->destination = block.ipv4_destination;
    ip->checksum = net::apply_difference(ip->checksum, block.ip_checksum_delta);
  } else {
    write_address(packet.ip, Family::kIpv6, true, block.source);
    write_address(packet.ip, Family::kIpv6, false, block.destination);
  }
  write_ports(packet.l4, packet.key.protocol, block.source_port, block.destination_port);
  fix_l4_checksum(packet.l4, packet.key.protocol, block.l4_checksum_delta);
}

// An ICMP error about a translated connection: the quoted packet travelled the other way, so its source is this
// direction's destination and the reverse; the outer source stays unless it is the translated end itself.
void translate_error(Packet& packet, const DirectionBlock& block) noexcept {
  std::uint8_t* quoted = packet.l4 + sizeof(net::Icmp);
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint32_t header = v4 ? net::at<net::Ipv4>(quoted)->header_bytes() : sizeof(net::Ipv6);
  write_address(quoted, packet.family, true, block.destination);
  write_address(quoted, packet.family, false, block.source);
  write_ports(quoted + header, packet.key.protocol, block.destination_port, block.source_port);
  const IpAddress outer_source = v4 ? IpAddress::ipv4(net::at<net::Ipv4>(packet.ip)->source)
                                    : IpAddress::ipv6(net::at<net::Ipv6>(packet.ip)->source);
  const IpAddress from = outer_source == packet.key.source ? block.source : outer_source;
  write_address(packet.ip, packet.family, true, from);
  write_address(packet.ip, packet.family, false, block.destination);

  const auto l4_bytes = packet.ip_bytes - static_cast<std::uint32_t>(packet.l4 - packet.ip);
  auto* icmp = net::at<net::Icmp>(packet.l4);
  icmp->checksum = Be16{};
  if (v4) {
    auto* inner = net::at<net::Ipv4>(quoted);
    inner->checksum = net::apply_difference(inner->checksum, static_cast<std::uint16_t>(block.ip_checksum_delta));
    auto* outer = net::at<net::Ipv4>(packet.ip);
    outer->checksum = Be16{};
    outer->checksum = Be16::raw(net::checksum(packet.ip, outer->header_bytes()));
    icmp->checksum = Be16::raw(net::checksum(packet.l4, l4_bytes));
  } else {
    icmp->checksum = Be16::raw(net::checksum(
        packet.l4, l4_bytes, net::pseudo_header_sum(from, block.destination, IpProtocol::kIcmpv6, l4_bytes)));
  }
}

}  // namespace

void rewrite(PathContext& context, Burst& burst) noexcept {
  FlowTable& flows = *context.shared.flows;
  for (Packet& packet : burst) {
    if (!packet.alive()) {
      continue;
    }
    const DirectionBlock& block = *packet.block;
    if (const std::uint32_t mtu = mtu_of(context, block); packet.ip_bytes > mtu) {
      refuse_oversize(context, packet, mtu);
      continue;
    }
    if (!take_hop(packet, block)) {
      packet.drop(DropReason::k_ttl_exceeded);
      continue;
    }
    if (!packet.icmp_error) {
      flows.track(context.worker, packet.hit, context.now, Bytes{packet.ip_bytes}, packet.tcp_flags);
    }
    if (block.flags != 0) {
      packet.icmp_error ? translate_error(packet, block) : translate(packet, block);
    }
  }
}

}  // namespace isthmus
