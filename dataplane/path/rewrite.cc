// The parts of rewrite that few packets need: IPv6, ICMP, ICMP errors, oversize packets.
#include "dataplane/path/rewrite.h"

#include "dataplane/path/output.h"
#include "dataplane/path/parse.h"

namespace isthmus::rewriting {
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

// Writes the two ports of a TCP or UDP header, or the identifier of an ICMP echo.
void write_ports(std::uint8_t* l4, IpProtocol protocol, Be16 source, Be16 destination) noexcept {
  if (protocol == IpProtocol::kTcp || protocol == IpProtocol::kUdp) {
    auto* udp = net::at<net::Udp>(l4);
    udp->source = source;
    udp->destination = destination;
  } else {
    net::at<net::Icmp>(l4)->id = source != Be16{} ? source : destination;
  }
}

}  // namespace

void drop_oversize(PathContext& context, Packet& packet, std::uint32_t mtu) noexcept {
  const bool notify = packet.family == Family::kIpv6 ||
                      (net::at<net::Ipv4>(packet.ip)->fragment.host() & net::Ipv4::kDontFragment) != 0;
  if (notify) {
    send_icmp_error(context, packet, IcmpError::kTooBig, Bytes{mtu});
  }
  packet.drop(DropReason::kOversize);
}

void translate_other(Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.family == Family::kIpv4) {
    translate_ipv4_addresses(packet.ip, block);
  } else {
    write_address(packet.ip, Family::kIpv6, true, block.source);
    write_address(packet.ip, Family::kIpv6, false, block.destination);
  }
  write_ports(packet.l4, packet.key.protocol, block.source_port, block.destination_port);
  fix_l4_checksum(packet.l4, packet.key.protocol, block.l4_checksum_delta);
}

// The quoted packet travelled in the opposite direction, so its source is this direction's destination and vice versa.
// The error's own source is kept unless it is the translated endpoint itself.
void translate_error(Packet& packet, const DirectionBlock& block) noexcept {
  std::uint8_t* quoted = packet.l4 + sizeof(net::Icmp);
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint32_t header = v4 ? net::at<net::Ipv4>(quoted)->header_bytes() : sizeof(net::Ipv6);
  write_address(quoted, packet.family, true, block.destination);
  write_address(quoted, packet.family, false, block.source);
  write_ports(quoted + header, packet.key.protocol, block.destination_port, block.source_port);
  const IpAddress outer_source = sender_of(packet);
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

}  // namespace isthmus::rewriting
