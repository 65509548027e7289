#include "perf/traffic/stamped_frame.h"

#include <algorithm>
#include <cstring>

#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "perf/io/traffic.h"

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kMagic = STAMP_MAGIC;
static_assert(kStampBytes == STAMP_BYTES);
constexpr std::uint16_t kTunnelPort = 8472;

std::uint32_t ip_header_bytes(Family family) {
  return static_cast<std::uint32_t>(family == Family::kIpv4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
}

Family family_of(const IpAddress& address) { return address.is_ipv4() ? Family::kIpv4 : Family::kIpv6; }

IpAddress plus(const IpAddress& address, std::uint32_t n) {
  if (address.is_ipv4()) {
    return IpAddress::ipv4(Be32::of(address.as_ipv4().host() + n));
  }
  IpAddress::ByteArray bytes = address.bytes();
  for (std::size_t i = bytes.size(); i > 0 && n != 0; --i) {
    n += bytes[i - 1];
    bytes[i - 1] = static_cast<std::uint8_t>(n & 0xff);
    n >>= 8;
  }
  return IpAddress(bytes);
}

void write_ip(std::uint8_t* at, const IpAddress& source, const IpAddress& destination, std::uint32_t ip_bytes) {
  constexpr std::uint8_t kTtl = 64, kUdp = static_cast<std::uint8_t>(IpProtocol::kUdp);
  if (source.is_ipv4()) {
    auto* ip = net::at<net::Ipv4>(at);
    ip->version_ihl = 0x45;
    ip->total_length = Be16::of(static_cast<std::uint16_t>(ip_bytes));
    ip->ttl = kTtl;
    ip->protocol = kUdp;
    ip->source = source.as_ipv4();
    ip->destination = destination.as_ipv4();
    ip->checksum = Be16::raw(net::checksum(at, sizeof(net::Ipv4)));
    return;
  }
  auto* ip = net::at<net::Ipv6>(at);
  ip->version_class_flow = Be32::of(0x60000000);
  ip->payload_length = Be16::of(static_cast<std::uint16_t>(ip_bytes - sizeof(net::Ipv6)));
  ip->next_header = kUdp;
  ip->hop_limit = kTtl;
  std::memcpy(ip->source, source.bytes().data(), sizeof ip->source);
  std::memcpy(ip->destination, destination.bytes().data(), sizeof ip->destination);
}

void write_ethernet(std::uint8_t* at, const TrafficShape& shape, Family family) {
  auto* ethernet = net::at<net::Ethernet>(at);
  std::copy_n(shape.destination_mac.bytes.begin(), 6, ethernet->destination);
  std::copy_n(shape.source_mac.bytes.begin(), 6, ethernet->source);
  ethernet->type = Be16::of(static_cast<std::uint16_t>(family == Family::kIpv4 ? EtherType::kIpv4 : EtherType::kIpv6));
}

}  // namespace

std::uint32_t min_frame_bytes(Family family) {
  return static_cast<std::uint32_t>(sizeof(net::Ethernet) + sizeof(net::Udp)) + ip_header_bytes(family) + kStampBytes;
}

std::vector<std::uint8_t> stamped_frame(const TrafficShape& shape, std::uint32_t connection, const Stamp& stamp) {
  const Family family = family_of(shape.source);
  const bool tunnel = shape.tunnel_from && shape.tunnel_to;
  const std::uint32_t length = std::max(shape.frame_bytes, min_frame_bytes(family));
  const OuterHeader header =
      tunnel ? encap::build(EncapsulationKind::kVxlan, *shape.tunnel_from, *shape.tunnel_to, L4Port{kTunnelPort})
             : OuterHeader{};
  const std::size_t ip_at = tunnel ? header.size : sizeof(net::Ethernet);
  const auto ip_bytes = static_cast<std::uint32_t>(length - sizeof(net::Ethernet));
  std::vector<std::uint8_t> frame(ip_at + ip_bytes, 0);
  const IpAddress source = plus(shape.source, connection / kTrafficPorts);
  write_ip(frame.data() + ip_at, source, shape.destination, ip_bytes);
  std::uint8_t* const l4 = frame.data() + ip_at + ip_header_bytes(family);
  const std::uint32_t l4_bytes = ip_bytes - ip_header_bytes(family);
  auto* udp = net::at<net::Udp>(l4);
  udp->source = Be16::of(static_cast<std::uint16_t>(kTrafficFirstPort + connection % kTrafficPorts));
  udp->destination = Be16::of(shape.destination_port.value());
  udp->length = Be16::of(static_cast<std::uint16_t>(l4_bytes));
  std::uint8_t* const payload = l4 + sizeof(net::Udp);
  std::memcpy(payload, &kMagic, sizeof kMagic);
  std::memcpy(payload + 4, &stamp.sequence, sizeof stamp.sequence);
  std::memcpy(payload + 12, &stamp.sent_ns, sizeof stamp.sent_ns);
  const std::uint16_t sum =
      net::checksum(l4, l4_bytes, net::pseudo_header_sum(source, shape.destination, IpProtocol::kUdp, l4_bytes));
  udp->checksum = Be16::raw(sum == 0 ? 0xffff : sum);
  if (tunnel) {
    encap::Patch patch;
    patch.vni_word = encap::vni_word(Vni{shape.vni});
    patch.inner_ip_bytes = ip_bytes;
    patch.family = family;
    patch.source_port = encap::entropy_port(connection);
    encap::push(header, patch, frame.data() + ip_at);
  }
  write_ethernet(frame.data(), shape, tunnel ? header.underlay : family);
  return frame;
}

std::optional<ReadFrame> read_stamped(std::span<const std::uint8_t> frame) {
  ReadFrame read;
  std::size_t at = 0;
  for (bool inner = true; inner;) {
    inner = false;
    if (frame.size() < at + sizeof(net::Ethernet) + sizeof(net::Ipv4)) {
      return std::nullopt;
    }
    const std::uint16_t type = net::at<net::Ethernet>(frame.data() + at)->type.host();
    const bool v4 = type == static_cast<std::uint16_t>(EtherType::kIpv4);
    if (!v4 && type != static_cast<std::uint16_t>(EtherType::kIpv6)) {
      return std::nullopt;
    }
    const Family family = v4 ? Family::kIpv4 : Family::kIpv6;
    const std::uint8_t* ip = frame.data() + at + sizeof(net::Ethernet);
    const std::size_t l4_at = at + sizeof(net::Ethernet) + ip_header_bytes(family);
    constexpr auto kUdp = static_cast<std::uint8_t>(IpProtocol::kUdp);
    if (frame.size() < l4_at + sizeof(net::Udp) ||
        (v4 ? net::at<net::Ipv4>(ip)->protocol : net::at<net::Ipv6>(ip)->next_header) != kUdp) {
      return std::nullopt;
    }
    const auto* udp = net::at<net::Udp>(frame.data() + l4_at);
    if (!read.tunnelled && v4 && udp->destination.host() == kTunnelPort) {
      read.tunnelled = inner = true;
      at = l4_at + sizeof(net::Udp) + sizeof(net::Vxlan);
      continue;
    }
    const std::uint32_t l4_bytes = udp->length.host();
    if (l4_bytes < sizeof(net::Udp) + kStampBytes || frame.size() < l4_at + l4_bytes) {
      return std::nullopt;
    }
    IpAddress::ByteArray from{}, to{};
    if (!v4) {
      std::memcpy(from.data(), net::at<net::Ipv6>(ip)->source, from.size());
      std::memcpy(to.data(), net::at<net::Ipv6>(ip)->destination, to.size());
    }
    read.source = v4 ? IpAddress::ipv4(net::at<net::Ipv4>(ip)->source) : IpAddress(from);
    const IpAddress destination = v4 ? IpAddress::ipv4(net::at<net::Ipv4>(ip)->destination) : IpAddress(to);
    read.source_port = udp->source.host();
    read.checksum_ok = net::fold(net::partial_sum(
                           frame.data() + l4_at, l4_bytes,
                           net::pseudo_header_sum(read.source, destination, IpProtocol::kUdp, l4_bytes))) == 0xffff;
    const std::uint8_t* payload = frame.data() + l4_at + sizeof(net::Udp);
    if (std::memcmp(payload, &kMagic, sizeof kMagic) != 0) {
      return std::nullopt;
    }
    std::memcpy(&read.stamp.sequence, payload + 4, sizeof read.stamp.sequence);
    std::memcpy(&read.stamp.sent_ns, payload + 12, sizeof read.stamp.sent_ns);
  }
  return read;
}

}  // namespace isthmus::perf
