// decap: for packets from the fabric side, finds the peer, the VNI and the inner packet. Whether that peer may send
// this source is checked by source validation at admission; an established flow's block names the peer and VNI it must
// have.
#include "dataplane/originate/output.h"
#include "dataplane/packet/parse.h"
#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

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

std::optional<DropReason> decapsulate(PathContext& context, Packet& packet) noexcept {
  const auto* outer = net::at<net::Ipv4>(packet.ip);
  const std::uint32_t outer_bytes = outer->header_bytes();
  if ((outer->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0) {
    return DropReason::kIpFragment;
  }
  constexpr std::uint32_t kTunnelBytes = sizeof(net::Udp) + sizeof(net::Vxlan) + sizeof(net::Ethernet);
  if (packet.ip_bytes < outer_bytes + kTunnelBytes) {
    return DropReason::kMalformed;
  }
  const std::uint8_t tos = outer->tos;
  packet.peer = context.snapshot->peers->find(IpAddress::ipv4(outer->source));
  if (packet.peer == kNoPeer) {
    return DropReason::kUnknownPeer;
  }
  const auto* vxlan = net::at<net::Vxlan>(packet.ip + outer_bytes + sizeof(net::Udp));
  if (vxlan->flags.host() != net::Vxlan::kValidVni || (vxlan->vni.host() & 0xff) != 0) {
    return DropReason::kTunnelHeader;
  }
  packet.vni = Vni{vxlan->vni.host() >> 8};

  std::uint8_t* ethernet = packet.ip + outer_bytes + sizeof(net::Udp) + sizeof(net::Vxlan);
  // Ethernet padding behind the outer packet must not count as inner bytes.
  packet.frame.length = static_cast<std::uint32_t>(packet.ip - packet.frame.data) + packet.ip_bytes;
  if (parse_plain_ipv4(packet, ethernet)) [[likely]] {
    if (!merge_ecn(packet, tos)) [[unlikely]] {
      return DropReason::kEcnNotCapable;
    }
    write_plain_key(packet, context.shared.options.realm);
    return std::nullopt;
  }
  if (const auto drop = parse_ethernet(packet, ethernet)) {
    return drop;
  }
  if (!merge_ecn(packet, tos)) {
    return DropReason::kEcnNotCapable;
  }
  return parse_flow(packet, context.shared.options.realm);
}

}  // namespace

void decap(PathContext& context, Burst& burst) noexcept {
  const FlowTable& flows = *context.shared.flows;
  std::uint64_t decapsulated = 0;
  for (Packet& packet : burst) {
    if (!packet.alive() || packet.side != Side::kFabric) {
      continue;
    }
    if (const auto drop = decapsulate(context, packet)) {
      packet.drop(*drop);
      continue;
    }
    ++decapsulated;
    if (packet.vni.value() == identity::kHealth.value() &&
        packet.key.destination() == context.shared.options.tunnel_address) {
      handle_probe(context.output, packet);
      continue;
    }
    prefetch_connection(flows, packet);
  }
  context.counters.decapsulated.add(decapsulated);
}

}  // namespace isthmus
