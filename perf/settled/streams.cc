#include "perf/settled/streams.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "perf/io/rig.h"
#include "perf/io/traffic.h"

namespace isthmus::perf {
namespace {

constexpr std::uint16_t kFirstPort = 1024;
constexpr std::uint32_t kMaxPorts = 32768;
constexpr unsigned kEthernet = sizeof(net::Ethernet), kTunnel = encap::kIpv4Bytes;
constexpr unsigned kUdpPayload = sizeof(net::Ipv4) + sizeof(net::Udp);

void put_addresses(std::uint8_t* frame, const MacAddress& to, const MacAddress& from) {
  std::copy(to.bytes.begin(), to.bytes.end(), frame);
  std::copy(from.bytes.begin(), from.bytes.end(), frame + to.bytes.size());
}

struct Far {
  IpAddress address;
  L4Port port;
};
// What the clients talk to, and what that is behind the translation.
Far seen_by_clients(Work work) {
  const SettledEnds& ends = settled_ends();
  return work == Work::kTranslate ? Far{ends.vip, ends.vip_port} : Far{ends.pod, ends.pod_port};
}
Far behind() { return {settled_ends().pod, settled_ends().pod_port}; }

// A UDP packet between the first client and `far`. The first payload words are the complements of what differs.
void put_packet(std::uint8_t* at, std::uint32_t ip_bytes, const Far& far, bool from_client) {
  const IpAddress client = settled_ends().first_client;
  auto* ip = net::at<net::Ipv4>(at);
  auto* udp = net::at<net::Udp>(at + sizeof(net::Ipv4));
  ip->version_ihl = 0x45;
  ip->total_length = Be16::of(static_cast<std::uint16_t>(ip_bytes));
  ip->ttl = 64;
  ip->protocol = static_cast<std::uint8_t>(IpProtocol::kUdp);
  ip->source = (from_client ? client : far.address).as_ipv4();
  ip->destination = (from_client ? far.address : client).as_ipv4();
  udp->source = Be16::of(from_client ? kFirstPort : far.port.value());
  udp->destination = Be16::of(from_client ? far.port.value() : kFirstPort);
  const auto l4_bytes = static_cast<std::uint16_t>(ip_bytes - sizeof(net::Ipv4));
  udp->length = Be16::of(l4_bytes);
  const auto low = static_cast<std::uint16_t>(client.as_ipv4().host());
  ip->id = Be16::of(static_cast<std::uint16_t>(~low));
  std::uint8_t* const payload = at + kUdpPayload;
  *net::at<net::Wire16>(payload) = Be16::of(static_cast<std::uint16_t>(~kFirstPort));
  *net::at<net::Wire16>(payload + 2) = Be16::of(static_cast<std::uint16_t>(~low));
  ip->checksum = Be16::raw(net::checksum(at, sizeof(net::Ipv4)));
  udp->checksum =
      Be16::raw(net::checksum(at + sizeof(net::Ipv4), l4_bytes,
                              net::pseudo_header_sum(IpAddress::ipv4(ip->source), IpAddress::ipv4(ip->destination),
                                                     IpProtocol::kUdp, l4_bytes)));
}

void put_tunnel(std::uint8_t* inner, std::uint32_t ip_bytes, const IpAddress& from, const IpAddress& to,
                std::uint32_t vni) {
  encap::Patch patch;
  patch.vni_word = encap::vni_word(Vni{vni});
  patch.inner_ip_bytes = ip_bytes;
  patch.source_port = Be16::of(40000);
  encap::push(encap::build(EncapsulationKind::kVxlan, from, to, settled_ends().tunnel_port), patch, inner);
}

std::uint16_t difference_of(const Far& before, const Far& after, bool port) {
  const net::Wire32 addresses[] = {before.address.as_ipv4(), after.address.as_ipv4()};
  const net::Wire16 ports[] = {Be16::of(before.port.value()), Be16::of(after.port.value())};
  const auto bytes = [](const auto& word) { return reinterpret_cast<const std::uint8_t*>(&word); };
  const std::uint32_t sum = net::difference(bytes(addresses[0]), bytes(addresses[1]), 4) +
                            (port ? net::difference(bytes(ports[0]), bytes(ports[1]), 2) : 0u);
  return net::fold(sum);
}

// What is wrong with the frame outside the inner packet.
const char* envelope_error(const std::vector<std::uint8_t>& frame, std::size_t length, Course course,
                           std::uint32_t vni) {
  const SettledEnds& ends = settled_ends();
  const bool out = course == Course::kToFabric;
  std::uint8_t addresses[12];
  put_addresses(addresses, out ? ends.to_fabric : ends.to_clients, out ? ends.underlay : ends.local);
  if (std::memcmp(frame.data(), addresses, sizeof addresses) != 0) {
    return "other Ethernet addresses";
  }
  if (!out) {
    return nullptr;
  }
  const auto* ip = net::at<net::Ipv4>(frame.data() + kEthernet);
  const auto* udp = net::at<net::Udp>(frame.data() + kEthernet + sizeof(net::Ipv4));
  const auto* vxlan = net::at<net::Vxlan>(frame.data() + kEthernet + kUdpPayload);
  if (net::fold(net::partial_sum(frame.data() + kEthernet, sizeof(net::Ipv4))) != 0xffff) {
    return "wrong checksum of the outer header";
  }
  if (ip->source.wire() != ends.our_tunnel.as_ipv4().wire() ||
      ip->destination.wire() != ends.their_tunnel.as_ipv4().wire() ||
      udp->destination.host() != ends.tunnel_port.value()) {
    return "not from our tunnel end to theirs";
  }
  if (ip->total_length.host() + kEthernet != length || udp->length.host() + kEthernet + sizeof(net::Ipv4) != length ||
      udp->checksum.host() != 0) {
    return "wrong length or UDP checksum of the outer header";
  }
  return vxlan->flags.host() == net::Vxlan::kValidVni && vxlan->vni.host() >> 8 == vni ? nullptr : "another VNI";
}

}  // namespace

const SettledEnds& settled_ends() {
  const auto ip = [](const char* text) { return *IpAddress::parse(text); };
  static const SettledEnds ends{
      .our_tunnel = ip("192.0.2.1"),
      .their_tunnel = ip("192.0.2.2"),
      .pod = ip("10.2.0.1"),
      .vip = ip("10.200.0.1"),
      .pod_port = L4Port{8080},
      .vip_port = L4Port{80},
      .tunnel_port = L4Port{8472},
      .first_client = ip("10.1.0.1"),
      .clients = *Prefix::parse("10.1.0.0/16"),
      .pods = *Prefix::parse("10.2.0.0/16"),
      .to_fabric = MacAddress{{2, 0, 0, 0, 2, 1}},
      .to_clients = MacAddress{{2, 0, 0, 0, 1, 1}},
      .underlay = MacAddress{{2, 0, 0, 0, 2, 2}},
      .local = MacAddress{{2, 0, 0, 0, 1, 2}},
      .our_identity = 1u << 16 | 1000,
      .their_identity = 2u << 16 | 7,
  };
  return ends;
}

SettledFlow settled_flow(std::uint32_t n) {
  return {IpAddress::ipv4(Be32::of(settled_ends().first_client.as_ipv4().host() + n / kMaxPorts)),
          Be16::of(static_cast<std::uint16_t>(kFirstPort + n % kMaxPorts))};
}

std::uint32_t settled_clients(std::uint32_t flows) { return std::max(1u, flows / kMaxPorts); }

SettledStream settled_stream(Course course, Work work, std::uint32_t flows, unsigned inner_frame_bytes) {
  const SettledEnds& ends = settled_ends();
  const bool out = course == Course::kToFabric;
  const unsigned at = out ? kEthernet : kTunnel;
  const std::uint32_t ip_bytes = inner_frame_bytes - kEthernet;
  SettledStream stream{.pump = out ? kInterfacePump : kInterfaceSink,
                       .sink = out ? kInterfaceSink : kInterfacePump,
                       .frame = std::vector<std::uint8_t>(at + ip_bytes),
                       .spread = {}};
  std::uint8_t* const inner = stream.frame.data() + at;
  put_packet(inner, ip_bytes, out ? seen_by_clients(work) : behind(), out);
  if (out) {
    put_addresses(stream.frame.data(), ends.local, ends.to_clients);
    net::at<net::Ethernet>(stream.frame.data())->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  } else {
    put_tunnel(inner, ip_bytes, ends.their_tunnel, ends.our_tunnel, ends.their_identity);
    put_addresses(stream.frame.data(), ends.underlay, ends.to_fabric);
  }
  const unsigned side = out ? 0 : 1;  // the client is the source, or the destination
  stream.spread = {.count = flows,
                   .port_at = at + unsigned{sizeof(net::Ipv4)} + 2 * side,
                   .lowest_port = kFirstPort,
                   .ports = std::min(flows, kMaxPorts),
                   .address_at = at + 12 + 4 * side + 2,
                   .first_address = ends.first_client.as_ipv4().host() & 0xffff,
                   .id_at = at + 4,
                   .payload_at = at + kUdpPayload};
  return stream;
}

IpAddress settled_other_client() {
  constexpr std::uint32_t kOffset = 0x1000;
  return IpAddress::ipv4(Be32::of((settled_ends().first_client.as_ipv4().host() & ~0xffffu) + kOffset));
}

SettledStream settled_other_stream(Course course, std::uint32_t count, std::uint32_t n, unsigned inner_frame_bytes) {
  SettledStream stream = settled_stream(course, Work::kForward, count, inner_frame_bytes);
  stream.spread.lowest_port = kFirstPort + kMaxPorts;
  stream.spread.first_address = (settled_other_client().as_ipv4().host() & 0xffff) + n;
  return stream;
}

bare_work settled_bare(Course course, Work work, unsigned inner_frame_bytes) {
  const SettledEnds& ends = settled_ends();
  const bool out = course == Course::kToFabric;
  const Far front = seen_by_clients(work), pod = behind();
  const Far &before = out ? front : pod, &after = out ? pod : front;
  bare_work bare{};
  if (out) {
    put_tunnel(bare.header + kTunnel, inner_frame_bytes - kEthernet, ends.our_tunnel, ends.their_tunnel,
               ends.our_identity);
    put_addresses(bare.header, ends.to_fabric, ends.underlay);
  } else {
    put_addresses(bare.header, ends.to_clients, ends.local);
    net::at<net::Ethernet>(bare.header)->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  }
  bare.rewrite = work == Work::kTranslate ? 1 : 0;
  bare.address = after.address.as_ipv4().wire();
  bare.port = Be16::of(after.port.value()).wire();
  const std::uint8_t hops[] = {64, 17}, less[] = {63, 17};
  bare.ip_delta = net::fold(std::uint32_t{difference_of(before, after, false)} +
                            (out ? 0u : net::difference(hops, less, sizeof hops)));
  bare.l4_delta = difference_of(before, after, true);
  return bare;
}

std::string settled_error(const Traffic::Sample& sample, Course course, Work work, std::uint32_t flows,
                          std::uint32_t vni) {
  const bool out = course == Course::kToFabric;
  const std::size_t at = out ? kTunnel : kEthernet;
  if (sample.bytes.size() < at + kUdpPayload) {
    return "only " + std::to_string(sample.length) + " bytes";
  }
  if (const char* error = envelope_error(sample.bytes, sample.length, course, vni)) {
    return error;
  }
  const std::uint8_t* const inner = sample.bytes.data() + at;
  const auto* ip = net::at<net::Ipv4>(inner);
  const auto* udp = net::at<net::Udp>(inner + sizeof(net::Ipv4));
  const std::uint32_t l4_bytes = ip->total_length.host() - std::uint32_t{sizeof(net::Ipv4)};
  if (ip->version_ihl != 0x45 || ip->total_length.host() + at != sample.length ||
      net::fold(net::partial_sum(inner, sizeof(net::Ipv4))) != 0xffff) {
    return "wrong length or checksum of the inner IP header";
  }
  const auto pseudo =
      net::pseudo_header_sum(IpAddress::ipv4(ip->source), IpAddress::ipv4(ip->destination), IpProtocol::kUdp, l4_bytes);
  if (sample.length == sample.bytes.size() &&
      net::fold(net::partial_sum(inner + sizeof(net::Ipv4), l4_bytes, pseudo)) != 0xffff) {
    return "wrong UDP checksum of the inner packet";
  }
  const Far far = out ? behind() : seen_by_clients(work);
  const IpAddress from = IpAddress::ipv4(ip->source), to = IpAddress::ipv4(ip->destination);
  const std::uint32_t client = (out ? from : to).as_ipv4().host() - settled_ends().first_client.as_ipv4().host();
  const std::uint32_t port = (out ? udp->source : udp->destination).host() - std::uint32_t{kFirstPort};
  if ((out ? to : from) != far.address || (out ? udp->destination : udp->source).host() != far.port.value() ||
      client >= settled_clients(flows) || port >= std::min(flows, kMaxPorts) || (ip->ttl != 64 && ip->ttl != 63)) {
    return from.to_string() + ":" + std::to_string(udp->source.host()) + " to " + to.to_string() + ":" +
           std::to_string(udp->destination.host()) + ", TTL " + std::to_string(ip->ttl) + " is no packet of these";
  }
  return "";
}

Status build_settled_rig() {
  if (Status links = build_links(); !links) {
    return links;
  }
  return run_commands(
      {
          "ip link set d0 mtu 1600",
          "ip link set s0 mtu 1600",
          "ip address add 169.254.0.1/30 dev u0",
          "ip neigh add 169.254.0.2 lladdr 02:00:00:00:01:01 dev u0",
          "ip route add 10.1.0.0/16 via 169.254.0.2",
          "ip address add 192.0.2.1/24 dev d0",
          "ip neigh add 192.0.2.2 lladdr 02:00:00:00:02:01 dev d0",
      },
      "needs iproute2 and procps");
}

Status build_settled_kernel(Work work) {
  Status tunnel = run_commands(
      {
          "ip link add vx0 address 02:49:c0:00:02:01 type vxlan id 131079 local 192.0.2.1 remote 192.0.2.2 "
          "dstport 8472 noudpcsum nolearning dev d0",
          "ip link set vx0 up",
          "ip address add 10.3.0.1/24 dev vx0",
          "ip neigh add 10.3.0.2 lladdr 02:49:c0:00:02:02 dev vx0",
          "ip route add 10.2.0.0/16 via 10.3.0.2",
      },
      "needs iproute2");
  if (!tunnel || work == Work::kForward) {
    return tunnel;
  }
  return run_commands(
      {
          "nft add table ip gateway",
          "nft 'add chain ip gateway services { type nat hook prerouting priority -100 ; }'",
          "nft add rule ip gateway services ip daddr 10.200.0.1 udp dport 80 dnat to 10.2.0.1:8080",
          "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=100000 "
          "net.netfilter.nf_conntrack_udp_timeout_stream=100000",
      },
      "needs nftables and procps");
}

}  // namespace isthmus::perf
