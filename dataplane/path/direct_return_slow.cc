// Direct server return: the node of a service's backend, a Cilium node that does DSR by Geneve, gets the client's
// packets with their source, and beside them in an option which VIP and port were asked. It answers the client itself,
// in the VIP's name. The option is in every SYN of TCP, after which the node knows the connection, and in all of UDP.
#include "dataplane/path/forward.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {

// What the path carries is less by the option in those packets that have it. Segments of TCP have none.
bool Forwarder::forward_with_option(Packet& packet, const DirectionBlock& block) noexcept {
  const PeerRecord& peer = peers_[block.encap_peer];
  const std::uint32_t carried = mtu_behind(adjacencies_, block.device, peer);
  const std::uint32_t option = option_bytes(packet, block, peer.header);
  DirectionBlock own = block;
  own.mtu = static_cast<std::uint16_t>(carried > option ? carried - option : 0);
  if (packet.ip_bytes > own.mtu) {
    return forward_too_long(packet, own);
  }
  if (!rewrite(context_, packet, own)) {
    return false;
  }
  if (packet.key.protocol == IpProtocol::kTcp && (packet.tcp_flags & net::Tcp::kSyn) != 0 && !packet.icmp_error) {
    clamp_segments(context_, packet, block);
  }
  account_any(packet);
  return send_any(packet, own);
}

std::uint32_t Forwarder::push_option(const Packet& packet, const DirectionBlock& block,
                                     const OuterHeader& header) noexcept {
  if (option_bytes(packet, block, header) == 0) [[likely]] {
    return 0;
  }
  return encap::add_dsr_option(header, packet.ip, packet.key.destination(), packet.key.destination_port);
}

}  // namespace isthmus
