#include "perf/path/frames.h"

#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kSmallIpBytes = 46, kMediumIpBytes = 558, kLargeIpBytes = 1500;

}  // namespace

FrameTemplate::FrameTemplate(const FrameShape& shape) {
  ip_ = sizeof(net::Ethernet);
  if (shape.tunnel) {
    encap::Patch patch;
    patch.vni_word = encap::vni_word(Vni{shape.vni});
    patch.inner_ip_bytes = shape.ip_bytes;
    ip_ = encap::kIpv4Bytes;
    encap::push(encap::build(EncapsulationKind::kVxlan, shape.tunnel_from, shape.tunnel_to, L4Port{8472}), patch,
                header_.data() + ip_);
    header_bytes_ = 128;
  } else {
    net::at<net::Ethernet>(header_.data())->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  }
  length_ = static_cast<std::uint32_t>(ip_ + shape.ip_bytes);

  std::uint8_t* const at = header_.data() + ip_;
  auto* ip = net::at<net::Ipv4>(at);
  ip->version_ihl = 0x45;
  ip->total_length = Be16::of(static_cast<std::uint16_t>(shape.ip_bytes));
  ip->ttl = 64;
  ip->protocol = static_cast<std::uint8_t>(IpProtocol::kTcp);
  constexpr std::uint32_t kHighHalf = 0xffff0000;
  ip->source = Be32::of(shape.source.as_ipv4().host() & kHighHalf);
  ip->destination = Be32::of(shape.destination.as_ipv4().host() & kHighHalf);
  auto* tcp = net::at<net::Tcp>(at + sizeof(net::Ipv4));
  (shape.source_port_varies ? tcp->destination : tcp->source) = Be16::of(shape.fixed_port.value());
  tcp->offset = 0x50;
  tcp->flags = shape.tcp_flags;
  port_ = ip_ + sizeof(net::Ipv4) + (shape.source_port_varies ? 0 : 2);

  ip_sum_ = net::fold(net::partial_sum(at, sizeof(net::Ipv4)));
  const auto l4_bytes = static_cast<std::uint32_t>(shape.ip_bytes - sizeof(net::Ipv4));
  const auto pseudo =
      net::pseudo_header_sum(IpAddress::ipv4(ip->source), IpAddress::ipv4(ip->destination), IpProtocol::kTcp, l4_bytes);
  l4_sum_ = net::fold(net::partial_sum(at + sizeof(net::Ipv4), sizeof(net::Tcp), pseudo));
}

const char* name_of(FrameMix mix) { return mix == FrameMix::k64 ? "64" : mix == FrameMix::kImix ? "imix" : "1500"; }

std::vector<FrameTemplate> templates_of(FrameShape shape, FrameMix mix) {
  constexpr std::uint32_t s = kSmallIpBytes, m = kMediumIpBytes, l = kLargeIpBytes;
  static constexpr std::array<std::uint32_t, 12> kImix = {s, m, s, s, m, s, l, s, m, s, m, s};
  std::vector<FrameTemplate> templates;
  if (mix == FrameMix::kImix) {
    for (const std::uint32_t bytes : kImix) {
      shape.ip_bytes = bytes;
      templates.emplace_back(shape);
    }
    return templates;
  }
  shape.ip_bytes = mix == FrameMix::k64 ? s : l;
  templates.emplace_back(shape);
  return templates;
}

double mean_length(const std::vector<FrameTemplate>& templates) {
  double sum = 0;
  for (const FrameTemplate& one : templates) {
    sum += one.length();
  }
  return sum / static_cast<double>(templates.size());
}

const char* packet_error(const std::uint8_t* at, std::size_t bytes) {
  const auto* ip = net::at<net::Ipv4>(at);
  if (bytes < sizeof(net::Ipv4) + sizeof(net::Tcp) || ip->version_ihl != 0x45 || ip->total_length.host() > bytes) {
    return "not a complete IPv4 packet";
  }
  if (net::fold(net::partial_sum(at, sizeof(net::Ipv4))) != 0xffff) {
    return "wrong IPv4 checksum";
  }
  if (ip->protocol != static_cast<std::uint8_t>(IpProtocol::kTcp)) {
    return "not TCP";
  }
  const std::uint32_t l4_bytes = ip->total_length.host() - std::uint32_t{sizeof(net::Ipv4)};
  const auto pseudo =
      net::pseudo_header_sum(IpAddress::ipv4(ip->source), IpAddress::ipv4(ip->destination), IpProtocol::kTcp, l4_bytes);
  return net::fold(net::partial_sum(at + sizeof(net::Ipv4), l4_bytes, pseudo)) == 0xffff ? nullptr
                                                                                         : "wrong TCP checksum";
}

}  // namespace isthmus::perf
