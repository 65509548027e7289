// VXLAN (RFC 7348) as Cilium sends it: the peer's UDP port, VNI = source identity, outer TTL 64, no DF, zero UDP
// checksum over IPv4, source port from the flow's hash, ECN by RFC 6040.
#include "dataplane/encap/encap.h"

namespace isthmus::encap {
namespace {

// The inner MAC address of a tunnel end: 02:49 followed by the last four bytes of its address.
MacAddress inner_mac(const IpAddress& tunnel_end) noexcept {
  MacAddress mac;
  mac.bytes[0] = 0x02;
  mac.bytes[1] = 0x49;
  std::memcpy(mac.bytes.data() + 2, tunnel_end.bytes().data() + 12, 4);
  return mac;
}

}  // namespace

OuterHeader build(const IpAddress& from, const IpAddress& to, L4Port port) noexcept {
  OuterHeader header;
  header.size = kIpv4Bytes;
  header.overhead = kIpv4Bytes - sizeof(net::Ethernet);
  std::uint8_t* bytes = header.bytes.data();
  net::at<net::Ethernet>(bytes)->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));

  std::uint8_t* const ip_bytes = bytes + sizeof(net::Ethernet);
  auto* ip = net::at<net::Ipv4>(ip_bytes);
  ip->version_ihl = 0x45;
  ip->ttl = 64;
  ip->protocol = static_cast<std::uint8_t>(IpProtocol::kUdp);
  ip->source = from.as_ipv4();
  ip->destination = to.as_ipv4();
  header.sum = net::fold(net::partial_sum(ip_bytes, sizeof(net::Ipv4)));

  std::uint8_t* const udp = ip_bytes + sizeof(net::Ipv4);
  net::at<net::Udp>(udp)->destination = Be16::of(port.value());
  net::at<net::Vxlan>(udp + sizeof(net::Udp))->flags = Be32::of(net::Vxlan::kValidVni);

  auto* inner = net::at<net::Ethernet>(udp + sizeof(net::Udp) + kTunnelHeaderBytes);
  std::memcpy(inner->destination, inner_mac(to).bytes.data(), 6);
  std::memcpy(inner->source, inner_mac(from).bytes.data(), 6);
  inner->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  return header;
}

}  // namespace isthmus::encap
