// parse: decides the side a packet came from. A UDP packet to our tunnel address and port is the fabric's and goes on
// to decap; everything else is this cluster's, and its own header is the inner one.
#include "dataplane/path/parse.h"

#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

bool is_tunnel(const PathContext& context, const Packet& packet) noexcept {
  if (packet.family != Family::kIpv4) {
    return false;
  }
  const auto* ip = net::at<net::Ipv4>(packet.ip);
  if (ip->protocol != static_cast<std::uint8_t>(IpProtocol::kUdp) ||
      ip->destination != context.shared.options.tunnel_address.as_ipv4() ||
      packet.ip_bytes < ip->header_bytes() + sizeof(net::Udp)) {
    return false;
  }
  const auto* udp = net::at<net::Udp>(packet.ip + ip->header_bytes());
  return udp->destination.host() == context.shared.options.tunnel_port.value();
}

}  // namespace

void parse(PathContext& context, Burst& burst) noexcept {
  const Realm realm = context.shared.options.realm;
  for (Packet& packet : burst) {
    const bool plain = parse_plain_ipv4(packet, packet.frame.data, realm);
    if (!plain) {
      if (const auto fault = parse_ethernet(packet, packet.frame.data)) {
        packet.drop(*fault);
        continue;
      }
    }
    if (is_tunnel(context, packet)) {
      packet.side = Side::kFabric;
      continue;
    }
    packet.side = Side::kLocal;
    if (plain) {
      continue;
    }
    if (const auto fault = parse_flow(packet, realm)) {
      packet.drop(*fault);
    }
  }
}

}  // namespace isthmus
