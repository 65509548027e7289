// The parts of decap that few packets need: congestion marks, options, IPv6 or fragments inside, probes, and everything
// malformed.
#include "dataplane/net/checksum.h"
#include "dataplane/originate/output.h"
#include "dataplane/packet/dsr.h"
#include "dataplane/packet/header_chain.h"
#include "dataplane/path/decap.h"
#include "dataplane/path/fragments.h"

namespace isthmus {
namespace {

constexpr std::uint8_t kEcnMask = 3, kNotEct = 0, kEct1 = 1, kEct0 = 2, kCongestion = 3;

// RFC 6040 section 4.2, for a packet whose inner mark is not Not-ECT.
constexpr std::uint8_t merged_ecn(std::uint8_t inner, std::uint8_t outer) noexcept {
  return outer == kCongestion || (outer == kEct1 && inner == kEct0) ? outer : inner;
}

// Propagates the mark of the underlay to the inner packet. False where that is congestion and the packet is not
// ECN-capable: only its loss can tell the sender.
bool merge_ecn(Packet& packet, std::uint8_t outer_tos) noexcept {
  const std::uint8_t outer = outer_tos & kEcnMask;
  if (packet.family == Family::kIpv4) {
    auto* ip = net::at<net::Ipv4>(packet.ip);
    const std::uint8_t inner = ip->tos & kEcnMask;
    if (inner == kNotEct) {
      return outer != kCongestion;
    }
    if (const std::uint8_t merged = merged_ecn(inner, outer); merged != inner) {
      const Be16 before = Be16::of(ip->tos);
      ip->tos = static_cast<std::uint8_t>((ip->tos & ~kEcnMask) | merged);
      const std::uint64_t delta = std::uint64_t{Be16::of(ip->tos).wire()} + static_cast<std::uint16_t>(~before.wire());
      ip->checksum = net::apply_difference(ip->checksum, net::fold(delta));
    }
    return true;
  }
  constexpr unsigned kEcnShift = 20;
  auto* ip = net::at<net::Ipv6>(packet.ip);
  const std::uint32_t word = ip->version_class_flow.host();
  const auto inner = static_cast<std::uint8_t>(word >> kEcnShift & kEcnMask);
  if (inner == kNotEct) {
    return outer != kCongestion;
  }
  ip->version_class_flow =
      Be32::of((word & ~(std::uint32_t{kEcnMask} << kEcnShift)) | std::uint32_t{merged_ecn(inner, outer)} << kEcnShift);
  return true;
}

// What decap reads of an outer IP header, whose lengths have been checked.
struct OuterIp {
  IpAddress source;
  std::uint32_t bytes = 0;
  std::uint8_t traffic_class = 0;
};

OuterIp read_outer_ip(const Packet& packet) noexcept {
  if (packet.family == Family::kIpv4) {
    const auto* ip = net::at<net::Ipv4>(packet.ip);
    return {IpAddress::ipv4(ip->source), ip->header_bytes(), ip->tos};
  }
  const auto* ip = net::at<net::Ipv6>(packet.ip);  // no extension headers: UDP follows it
  return {IpAddress::ipv6(ip->source), sizeof(net::Ipv6),
          static_cast<std::uint8_t>(ip->version_class_flow.host() >> 20)};
}

// Reads the outer headers behind IP: sets the origin, `inner` to the inner Ethernet header, and `service` to the body
// of a DSR option, if there is one.
std::optional<DropReason> read_tunnel(PathContext& context, Packet& packet, const OuterIp& outer, std::uint8_t*& inner,
                                      const std::uint8_t*& service) noexcept {
  const PeerId id = context.snapshot->peers->find(outer.source);
  packet.origin = Origin(id, Vni{});
  if (id == kNoPeer) {
    return DropReason::kUnknownPeer;
  }
  const auto* udp = net::at<net::Udp>(packet.ip + outer.bytes);
  const std::uint32_t udp_bytes = udp->length.host();
  if (udp_bytes < sizeof(net::Udp) || udp_bytes + outer.bytes > packet.ip_bytes) {
    return DropReason::kMalformed;
  }
  const EncapsulationKind kind = (*context.snapshot->peers)[id].from_kind;
  if (context.shared.options.tunnel.port(kind).value() != udp->destination.host()) {
    return DropReason::kTunnelKind;
  }
  std::uint8_t* const header = packet.ip + outer.bytes + sizeof(net::Udp);
  encap::Tunnelled tunnelled;
  if (const auto drop = encap::parse(kind, header, header - sizeof(net::Udp) + udp_bytes, tunnelled)) {
    return drop;
  }
  packet.origin = Origin(id, tunnelled.vni);
  inner = header + tunnelled.inner;
  service = tunnelled.service != 0 ? header + tunnelled.service : nullptr;
  // What lies behind the UDP datagram, Ethernet padding for example, must not count as inner bytes.
  packet.frame->length = static_cast<std::uint32_t>(packet.ip - packet.frame->data) + outer.bytes + udp_bytes;
  return std::nullopt;
}

}  // namespace

std::optional<DropReason> decapsulate(PathContext& context, Packet& packet) noexcept {
  const Family underlay = packet.family;
  const std::uint8_t* const outer_ip = packet.ip;
  const OuterIp outer = read_outer_ip(packet);
  std::uint8_t* inner = nullptr;
  const std::uint8_t* service = nullptr;
  if (outer.bytes > sizeof(net::Ipv4) && underlay == Family::kIpv4) {
    if (const auto drop = check_ipv4_options(outer_ip, outer.bytes)) {
      return drop;
    }
  }
  if (const auto drop = read_tunnel(context, packet, outer, inner, service)) {
    return drop;
  }
  if (const auto drop = parse_ethernet(packet, inner)) {
    return drop;
  }
  if (underlay == Family::kIpv6 && !encap::checksum_holds(outer_ip, packet.ip, packet.ip_bytes, packet.family,
                                                          packet.frame->data + packet.frame->length)) {
    return DropReason::kTunnelChecksum;
  }
  if (!merge_ecn(packet, outer.traffic_class)) {
    return DropReason::kEcnNotCapable;
  }
  if (const auto drop = parse_flow(packet, context.shared.options.realm)) {
    return drop;
  }
  if (service != nullptr && !note_dsr(packet, service)) {
    return DropReason::kMalformed;
  }
  if (packet.origin.vni().value() == identity::kHealth.value() &&
      context.shared.options.tunnel.is_ours(packet.key.destination())) {
    if (packet.fragment != Fragment::kNone) {
      return DropReason::kProbe;
    }
    handle_probe(context.output, packet);
    return std::nullopt;
  }
  return packet.fragment == Fragment::kNone ? std::nullopt : follow_datagram(context, packet);
}

}  // namespace isthmus
