#include "dataplane/encap/vxlan.h"

namespace isthmus {

MacAddress VxlanIpv4::inner_mac(const IpAddress& tunnel_end) noexcept {
  MacAddress mac;
  mac.bytes[0] = 0x02;
  mac.bytes[1] = 0x49;
  std::memcpy(mac.bytes.data() + 2, tunnel_end.bytes().data() + 12, 4);
  return mac;
}

VxlanIpv4::Header VxlanIpv4::build(const IpAddress& from, const IpAddress& to, L4Port port) noexcept {
  Header header;
  std::uint8_t* bytes = header.bytes.data();
  net::at<net::Ethernet>(bytes)->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));

  auto* ip = net::at<net::Ipv4>(bytes + kIpOffset);
  ip->version_ihl = 0x45;
  ip->ttl = 64;
  ip->protocol = static_cast<std::uint8_t>(IpProtocol::kUdp);
  ip->source = from.as_ipv4();
  ip->destination = to.as_ipv4();
  ip->checksum = Be16::raw(net::checksum(bytes + kIpOffset, sizeof(net::Ipv4)));

  auto* udp = net::at<net::Udp>(bytes + kUdpOffset);
  udp->destination = Be16::of(port.value());

  net::at<net::Vxlan>(bytes + kVxlanOffset)->flags = Be32::of(net::Vxlan::kValidVni);

  auto* inner = net::at<net::Ethernet>(bytes + kInnerOffset);
  std::memcpy(inner->destination, inner_mac(to).bytes.data(), 6);
  std::memcpy(inner->source, inner_mac(from).bytes.data(), 6);
  inner->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  return header;
}

}  // namespace isthmus
