#include "perf/path/frames.h"

#include "dataplane/encap/vxlan.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace isthmus::perf {
namespace {

constexpr std::size_t kFrameBytes = 60;

void write_ip_tcp(std::uint8_t* at, const Flow& flow, std::uint8_t flags) {
  auto* ip = net::at<net::Ipv4>(at);
  constexpr std::uint16_t kIpBytes = kFrameBytes - sizeof(net::Ethernet);
  ip->version_ihl = 0x45;
  ip->total_length = Be16::of(kIpBytes);
  ip->ttl = 64;
  ip->protocol = static_cast<std::uint8_t>(IpProtocol::kTcp);
  ip->source = flow.source.as_ipv4();
  ip->destination = flow.destination.as_ipv4();
  ip->checksum = Be16::raw(net::checksum(at, sizeof(net::Ipv4)));
  auto* tcp = net::at<net::Tcp>(at + sizeof(net::Ipv4));
  tcp->source = Be16::of(flow.source_port);
  tcp->destination = Be16::of(flow.destination_port);
  tcp->offset = 0x50;
  tcp->flags = flags;
  const std::uint32_t l4 = kIpBytes - sizeof(net::Ipv4);
  tcp->checksum = Be16::raw(net::checksum(at + sizeof(net::Ipv4), l4,
                                          net::pseudo_header_sum(flow.source, flow.destination, IpProtocol::kTcp, l4)));
}

}  // namespace

std::vector<std::uint8_t> tcp_frame(const Flow& flow, std::uint8_t flags) {
  std::vector<std::uint8_t> frame(kFrameBytes, 0);
  net::at<net::Ethernet>(frame.data())->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  write_ip_tcp(frame.data() + sizeof(net::Ethernet), flow, flags);
  return frame;
}

std::vector<std::uint8_t> tunnel_frame(const Flow& flow, std::uint8_t flags, const IpAddress& from, const IpAddress& to,
                                       std::uint32_t vni) {
  constexpr std::size_t kIpBytes = kFrameBytes - sizeof(net::Ethernet);
  std::vector<std::uint8_t> frame(VxlanIpv4::kHeaderBytes + kIpBytes, 0);
  VxlanIpv4::Patch patch;
  patch.vni = Vni{vni};
  patch.inner_ip_bytes = kIpBytes;
  patch.inner_type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  VxlanIpv4::push(VxlanIpv4::build(from, to, L4Port{8472}), patch, frame.data());
  write_ip_tcp(frame.data() + VxlanIpv4::kHeaderBytes, flow, flags);
  return frame;
}

}  // namespace isthmus::perf
