// The parts of decap that few packets need: congestion marks, options, IPv6 inside, probes, and everything malformed.
#include "dataplane/net/checksum.h"
#include "dataplane/originate/output.h"
#include "dataplane/path/decap.h"

namespace isthmus {
namespace {

constexpr std::uint8_t kEcnMask = 3, kEcnNotCapable = 0, kEcnCongestion = 3;

// RFC 6040 section 4.2: propagates congestion marked by the underlay to the inner packet. False where that is not
// ECN-capable: only its loss can tell the sender.
bool merge_ecn(Packet& packet, std::uint8_t outer_tos) noexcept {
  if ((outer_tos & kEcnMask) != kEcnCongestion) {
    return true;
  }
  if (packet.family == Family::kIpv4) {
    auto* ip = net::at<net::Ipv4>(packet.ip);
    if ((ip->tos & kEcnMask) == kEcnNotCapable) {
      return false;
    }
    if ((ip->tos & kEcnMask) != kEcnCongestion) {
      const Be16 before = Be16::of(ip->tos);
      ip->tos |= kEcnCongestion;
      const std::uint64_t delta = std::uint64_t{Be16::of(ip->tos).wire()} + static_cast<std::uint16_t>(~before.wire());
      ip->checksum = net::apply_difference(ip->checksum, net::fold(delta));
    }
    return true;
  }
  auto* ip = net::at<net::Ipv6>(packet.ip);
  const std::uint32_t word = ip->version_class_flow.host();
  const auto ecn = static_cast<std::uint8_t>((word >> 20) & kEcnMask);
  ip->version_class_flow = Be32::of(ecn == kEcnNotCapable ? word : word | std::uint32_t{kEcnCongestion} << 20);
  return ecn != kEcnNotCapable;
}

// Reads the outer headers: sets the origin and `inner`, the inner Ethernet header.
std::optional<DropReason> read_outer(PathContext& context, Packet& packet, std::uint8_t*& inner) noexcept {
  const auto* outer = net::at<net::Ipv4>(packet.ip);
  const std::uint32_t outer_bytes = outer->header_bytes();
  if ((outer->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0) {
    return DropReason::kIpFragment;
  }
  constexpr std::uint32_t kTunnelBytes = sizeof(net::Udp) + sizeof(net::Vxlan) + sizeof(net::Ethernet);
  if (packet.ip_bytes < outer_bytes + kTunnelBytes) {
    return DropReason::kMalformed;
  }
  const std::uint32_t udp_bytes = net::at<net::Udp>(packet.ip + outer_bytes)->length.host();
  if (udp_bytes < kTunnelBytes || udp_bytes + outer_bytes > packet.ip_bytes) {
    return DropReason::kMalformed;
  }
  const PeerId peer = context.snapshot->peers->find(IpAddress::ipv4(outer->source));
  packet.origin = Origin(peer, Vni{});
  if (peer == kNoPeer) {
    return DropReason::kUnknownPeer;
  }
  const auto* vxlan = net::at<net::Vxlan>(packet.ip + outer_bytes + sizeof(net::Udp));
  if (vxlan->flags.host() != net::Vxlan::kValidVni || (vxlan->vni.host() & 0xff) != 0) {
    return DropReason::kTunnelHeader;
  }
  packet.origin = Origin(peer, Vni{vxlan->vni.host() >> 8});
  inner = packet.ip + outer_bytes + sizeof(net::Udp) + sizeof(net::Vxlan);
  // What lies behind the UDP datagram, Ethernet padding for example, must not count as inner bytes.
  packet.frame->length = static_cast<std::uint32_t>(packet.ip - packet.frame->data) + outer_bytes + udp_bytes;
  return std::nullopt;
}

}  // namespace

std::optional<DropReason> decapsulate(PathContext& context, Packet& packet) noexcept {
  const std::uint8_t tos = net::at<net::Ipv4>(packet.ip)->tos;
  std::uint8_t* inner = nullptr;
  if (const auto drop = read_outer(context, packet, inner)) {
    return drop;
  }
  if (const auto drop = parse_ethernet(packet, inner)) {
    return drop;
  }
  if (!merge_ecn(packet, tos)) {
    return DropReason::kEcnNotCapable;
  }
  if (const auto drop = parse_flow(packet, context.shared.options.realm)) {
    return drop;
  }
  if (packet.origin.vni().value() == identity::kHealth.value() &&
      packet.key.destination() == context.shared.options.tunnel_address) {
    handle_probe(context.output, packet);
  }
  return std::nullopt;
}

}  // namespace isthmus
