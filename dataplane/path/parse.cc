// parse: determines the side a packet arrived on. A UDP packet to our tunnel address and port that arrived on the
// underlay device is from the fabric side and goes on to decap; everything else is from the local side, and its only IP
// header counts as the inner one.
#include "dataplane/packet/parse.h"

#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// A UDP packet over IPv4 to our tunnel address and port, from the underlay? Elsewhere anybody could claim to be a peer.
bool is_tunnel(const EngineOptions& options, const Packet& packet) noexcept {
  const auto* ip = net::at<net::Ipv4>(packet.ip);
  if (packet.family != Family::kIpv4 || ip->protocol != static_cast<std::uint8_t>(IpProtocol::kUdp) ||
      ip->destination != options.tunnel_address.as_ipv4() || packet.ip_bytes < ip->header_bytes() + sizeof(net::Udp)) {
    return false;
  }
  return net::at<net::Udp>(packet.ip + ip->header_bytes())->destination.host() == options.tunnel_port.value() &&
         packet.device == options.underlay_device;
}

// The slow path: a packet that parse_plain_ipv4() does not take. Returns the drop reason if it cannot be parsed.
std::optional<DropReason> parse_any(const EngineOptions& options, Packet& packet) noexcept {
  if (const auto drop = parse_ethernet(packet, packet.frame.data)) {
    return drop;
  }
  packet.side = is_tunnel(options, packet) ? Side::kFabric : Side::kLocal;
  return packet.side == Side::kFabric ? std::nullopt : parse_flow(packet, options.realm);
}

}  // namespace

void parse(PathContext& context, Burst& burst) noexcept {
  const EngineOptions& options = context.shared.options;
  const FlowTable& flows = *context.shared.flows;
  for (Packet& packet : burst) {
    if (parse_plain_ipv4(packet, packet.frame.data)) [[likely]] {
      packet.side = is_tunnel(options, packet) ? Side::kFabric : Side::kLocal;
      if (packet.side == Side::kFabric) {
        continue;
      }
      write_plain_key(packet, options.realm);
    } else if (const auto drop = parse_any(options, packet)) {
      packet.drop(*drop);
      continue;
    }
    if (packet.side == Side::kLocal) {
      prefetch_connection(flows, packet);
    }
  }
}

}  // namespace isthmus
