// Building of outer headers, the headers that few packets have, and what api/encapsulation.h says of the kinds.
#include "dataplane/encap/encap.h"

#include <utility>

namespace isthmus {
namespace encap {
namespace {

template <std::size_t... I>
constexpr auto infos_of(std::index_sequence<I...>) noexcept {
  static_assert(((std::tuple_element_t<I, Kinds>::kInfo.kind == static_cast<EncapsulationKind>(I)) && ...));
  static_assert(((std::tuple_element_t<I, Kinds>::kInfo.header_bytes == kTunnelHeaderBytes ||
                  std::tuple_element_t<I, Kinds>::kInfo.header_bytes == 0) &&
                 ...),
                "push() and parse() know headers of eight bytes");
  return std::array<EncapsulationInfo, kEncapsulationKinds>{std::tuple_element_t<I, Kinds>::kInfo...};
}
constexpr auto kInfos = infos_of(std::make_index_sequence<kEncapsulationKinds>{});

// Calls `use` with the kind's type.
template <typename Use>
void with_kind(EncapsulationKind kind, Use use) noexcept {
  std::apply([&](auto... kinds) { ((decltype(kinds)::kInfo.kind == kind ? use(kinds) : void()), ...); }, Kinds{});
}

// The inner MAC address of a tunnel end: 02:49 followed by its IPv4 address, or by its IPv6 address's four words,
// XORed. The two ends of a tunnel must differ: Linux drops a frame from a device's own address as a loop.
MacAddress inner_mac(const IpAddress& tunnel_end) noexcept {
  std::array<std::uint32_t, 4> words{};
  std::memcpy(words.data(), tunnel_end.bytes().data(), sizeof words);
  const std::uint32_t last = tunnel_end.is_ipv4() ? words[3] : words[0] ^ words[1] ^ words[2] ^ words[3];
  MacAddress mac;
  mac.bytes[0] = 0x02;
  mac.bytes[1] = 0x49;
  std::memcpy(mac.bytes.data() + 2, &last, sizeof last);
  return mac;
}

constexpr std::uint8_t kHops = 64;

// The outer IP header at `at`, with lengths, identification, traffic class and flow label left to push(). Returns its
// length in bytes.
std::uint32_t build_ip(const IpAddress& from, const IpAddress& to, std::uint8_t* at) noexcept {
  if (to.is_ipv4()) {
    auto* ip = net::at<net::Ipv4>(at);
    ip->version_ihl = 0x45;
    ip->ttl = kHops;
    ip->protocol = static_cast<std::uint8_t>(IpProtocol::kUdp);
    ip->source = from.as_ipv4();
    ip->destination = to.as_ipv4();
    return sizeof(net::Ipv4);
  }
  auto* ip = net::at<net::Ipv6>(at);
  ip->next_header = static_cast<std::uint8_t>(IpProtocol::kUdp);
  ip->hop_limit = kHops;
  std::memcpy(ip->source, from.bytes().data(), sizeof ip->source);
  std::memcpy(ip->destination, to.bytes().data(), sizeof ip->destination);
  return sizeof(net::Ipv6);
}

}  // namespace

OuterHeader build(EncapsulationKind kind, const IpAddress& from, const IpAddress& to, L4Port port) noexcept {
  OuterHeader header;
  header.kind = kind;
  header.underlay = to.family();
  header.size = to.is_ipv4() ? kIpv4Bytes : kIpv6Bytes;
  header.overhead = encapsulation_overhead(kind, to.family()).value();
  std::uint8_t* const ip = header.bytes.data() + sizeof(net::Ethernet);
  net::at<net::Ethernet>(header.bytes.data())->type =
      Be16::of(static_cast<std::uint16_t>(to.is_ipv4() ? EtherType::kIpv4 : EtherType::kIpv6));
  std::uint8_t* const udp = ip + build_ip(from, to, ip);
  net::at<net::Udp>(udp)->destination = Be16::of(port.value());
  std::uint8_t* const tunnel = udp + sizeof(net::Udp);
  with_kind(kind, [&](auto as) { decltype(as)::build(tunnel); });

  auto* inner = net::at<net::Ethernet>(tunnel + kTunnelHeaderBytes);
  std::memcpy(inner->destination, inner_mac(to).bytes.data(), 6);
  std::memcpy(inner->source, inner_mac(from).bytes.data(), 6);
  inner->type = Be16::of(static_cast<std::uint16_t>(EtherType::kIpv4));
  const std::uint64_t sum = to.is_ipv4() ? net::partial_sum(ip, sizeof(net::Ipv4))
                                         : net::partial_sum(udp, sizeof(net::Udp) + kBehindUdp,
                                                            net::pseudo_header_sum(from, to, IpProtocol::kUdp, 0));
  header.sum = net::fold(sum);
  return header;
}

void forbid_fragments(OuterHeader& header) noexcept {
  if (header.size == 0 || header.underlay != Family::kIpv4) {
    return;
  }
  auto* ip = net::at<net::Ipv4>(header.bytes.data() + sizeof(net::Ethernet));
  ip->fragment = Be16::of(net::Ipv4::kDontFragment);
  header.sum = net::fold(net::partial_sum(header.bytes.data() + sizeof(net::Ethernet), sizeof(net::Ipv4)));
}

std::uint32_t add_dsr_option(const OuterHeader& header, std::uint8_t* inner, const IpAddress& service,
                             Be16 port) noexcept {
  constexpr std::uint8_t kHasCritical = 0x40;
  const std::uint32_t bytes = Geneve::dsr_option_bytes(service.family());
  std::uint8_t* const option = inner - sizeof(net::Ethernet) - bytes;
  std::uint8_t* const at = inner - header.size - bytes;
  std::memmove(at, at + bytes, header.size - sizeof(net::Ethernet));
  Geneve::write_dsr(service, port, option);
  std::uint8_t* const tunnel = option - kTunnelHeaderBytes;
  tunnel[0] = static_cast<std::uint8_t>(tunnel[0] | bytes / 4);
  tunnel[1] |= kHasCritical;
  auto* const udp = net::at<net::Udp>(tunnel - sizeof(net::Udp));
  const Be16 before = udp->length;
  udp->length = Be16::of(static_cast<std::uint16_t>(before.host() + bytes));
  const std::uint64_t longer = std::uint64_t{udp->length.wire()} + static_cast<std::uint16_t>(~before.wire());
  if (header.underlay == Family::kIpv4) {
    auto* const ip = net::at<net::Ipv4>(at + sizeof(net::Ethernet));
    const Be16 total = ip->total_length;
    ip->total_length = Be16::of(static_cast<std::uint16_t>(total.host() + bytes));
    ip->checksum = net::apply_difference(
        ip->checksum, net::fold(std::uint64_t{ip->total_length.wire()} + static_cast<std::uint16_t>(~total.wire())));
    return bytes;
  }
  net::at<net::Ipv6>(at + sizeof(net::Ethernet))->payload_length = udp->length;
  // The length is in the pseudo-header, too; of the tunnel header, two bytes that were zero.
  const std::uint64_t sum = net::partial_sum(option, bytes, net::partial_sum(tunnel, 2, 2 * longer));
  const Be16 checksum = net::apply_difference(udp->checksum, net::fold(sum));
  udp->checksum = checksum == Be16{} ? Be16::raw(0xffff) : checksum;
  return bytes;
}

std::optional<DropReason> parse_other(EncapsulationKind kind, const std::uint8_t* at, std::uint32_t bytes,
                                      Tunnelled& into) noexcept {
  std::optional<DropReason> drop;
  with_kind(kind, [&](auto as) { drop = decltype(as)::parse_other(at, bytes, into); });
  return drop;
}

}  // namespace encap

std::span<const EncapsulationInfo> encapsulations() noexcept { return encap::kInfos; }

const EncapsulationInfo& encapsulation_info(EncapsulationKind kind) noexcept {
  return encap::kInfos[static_cast<std::size_t>(kind)];
}

std::optional<EncapsulationKind> encapsulation_named(std::string_view name) noexcept {
  for (const EncapsulationInfo& info : encap::kInfos) {
    if (info.name == name) {
      return info.kind;
    }
  }
  return std::nullopt;
}

TunnelEnds tunnel_end(const IpAddress& address, EncapsulationKind kind) noexcept {
  TunnelEnds ends;
  ends.kind = kind;
  (address.is_ipv4() ? ends.ipv4 : ends.ipv6) = address;
  ends.ports[static_cast<std::size_t>(kind)] = encapsulation_info(kind).default_port;
  return ends;
}

Bytes encapsulation_overhead(EncapsulationKind kind, Family underlay) noexcept {
  const std::uint32_t header = encapsulation_info(kind).header_bytes;
  if (header == 0) {
    return Bytes{0};
  }
  const auto ip = static_cast<std::uint32_t>(underlay == Family::kIpv4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
  return Bytes{ip + header + static_cast<std::uint32_t>(sizeof(net::Udp) + sizeof(net::Ethernet))};
}

}  // namespace isthmus
