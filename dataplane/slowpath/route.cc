// route: chooses the side, device, peer and next hop by which a direction leaves.
#include <algorithm>

#include "dataplane/encap/encap.h"
#include "dataplane/slowpath/admission.h"

namespace isthmus {
namespace {

bool usable(const ClusterRecord& cluster, const PeerTable& peers, ClusterId id, PeerId peer) noexcept {
  const PeerRecord& record = peers[peer];
  return record.known() && record.cluster == id &&
         (!record.gateway ||
          std::find(cluster.gateways.begin(), cluster.gateways.end(), peer) != cluster.gateways.end());
}

// Replies go to the peer that the forward direction came from, if usable; else to the cluster's live gateway that owns
// the connection (by hash); else to the endpoint's own node.
PeerId choose_peer(const SlowContext& context, const Admission& admission) noexcept {
  const ClusterTable& clusters = *context.snapshot->clusters;
  const PeerTable& peers = *context.snapshot->peers;
  const ClusterId id = admission.destination_cluster;
  if (admission.direction == Direction::kReply && admission.existing) {
    const PeerId came_from{admission.hit.shared().forward_peer.load(std::memory_order_relaxed)};
    if (usable(clusters[id], peers, id, came_from)) {
      return came_from;
    }
  }
  if (const PeerId owner = clusters.owner(id, symmetric_hash(admission.other())); owner != kNoPeer) {
    return owner;
  }
  EndpointInfo endpoint;
  const bool found = context.shared.endpoints.find(admission.own().realm, admission.target(), endpoint);
  return found && usable(clusters[id], peers, id, endpoint.node) ? endpoint.node : kNoPeer;
}

std::uint16_t mtu_of(const SlowContext& context, DeviceId device, std::uint32_t overhead) noexcept {
  constexpr std::uint32_t kLongest = 0xffff;
  return static_cast<std::uint16_t>(std::min(kLongest, context.shared.adjacencies.mtu(device).value() - overhead));
}

std::optional<DropReason> route_fabric(SlowContext& context, Admission& admission) noexcept {
  DirectionBlock& block = admission.block;
  block.encap_peer = choose_peer(context, admission);
  if (block.encap_peer == kNoPeer) {
    return DropReason::kNoLiveGateway;
  }
  const PeerRecord& peer = (*context.snapshot->peers)[block.encap_peer];
  block.device = context.shared.options.underlay_device;
  block.adjacency = peer.adjacency;
  block.mtu = mtu_of(context, block.device, peer.header.overhead);
  // Counts hops as Cilium does: local delivery takes one, entering the tunnel takes none. Forwarding from tunnel to
  // tunnel takes one too, so that a loop ends.
  block.flags = admission.packet.origin.side() == Side::kLocal
                    ? DirectionBlock::kTunnel
                    : DirectionBlock::kTunnel | DirectionBlock::kDecrementTtl;
  block.vni_word = encap::vni_word(wire_vni(admission.source_identity));
  const std::uint32_t hash = symmetric_hash(admission.own());
  block.outer_port = encap::entropy_port(hash ^ (hash >> 16));
  return std::nullopt;
}

std::optional<DropReason> route_local(SlowContext& context, Admission& admission) noexcept {
  DirectionBlock& block = admission.block;
  const LocalRoute* found = context.snapshot->routes->find(admission.own().realm, admission.target());
  if (found == nullptr) {
    return DropReason::kNoRoute;
  }
  block.flags = DirectionBlock::kDecrementTtl;
  block.device = found->device;
  block.mtu = mtu_of(context, block.device, 0);
  block.encap_peer = kNoPeer;
  block.adjacency = found->next_hop;
  if (block.adjacency == kNoAdjacency) {  // on-link: one neighbour per address
    bool created = false;
    block.adjacency = context.shared.adjacencies.find_or_create(found->device, admission.target(), created);
    if (block.adjacency == kNoAdjacency) {
      return DropReason::kNeighbourUnresolved;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<DropReason> route(SlowContext& context, Admission& admission) noexcept {
  EpochTable& epochs = context.shared.flows->epochs();
  DirectionBlock& block = admission.block;
  block.origin = admission.packet.origin;
  block.source_identity = admission.source_identity;
  const bool local = admission.destination_cluster == context.shared.options.cluster;
  if (const auto drop = local ? route_local(context, admission) : route_fabric(context, admission)) {
    return drop;
  }
  const PeerId peer = block.encap_peer != kNoPeer ? block.encap_peer : admission.packet.origin.peer();
  if (peer != kNoPeer) {  // else both ends are in our cluster, and policy uses this slot
    epochs.sample(block, kPeerEpoch, EpochTable::of_peer(peer));
  }
  return std::nullopt;
}

void finish_rewrite(Admission& admission) noexcept {
  DirectionBlock& block = admission.block;
  const FlowKey& own = admission.own();
  const FlowKey& other = admission.other();
  block.source = other.destination();
  block.destination = other.source();
  block.ipv4_source = block.source.as_ipv4();
  block.ipv4_destination = block.destination.as_ipv4();
  block.source_port = other.destination_port;
  block.destination_port = other.source_port;
  block.flags &= static_cast<std::uint8_t>(~DirectionBlock::kRewrite);
  std::uint64_t addresses = 0, ports = 0;
  const auto rewrite_end = [&](std::uint8_t flag, const IpAddress& from, Be16 from_port, const IpAddress& to,
                               Be16 to_port) {
    if (from != to || from_port != to_port) {
      block.flags |= flag;
      addresses += from.is_ipv4() && to.is_ipv4()  // their other bytes are equal
                       ? std::uint64_t{to.as_ipv4().wire()} + static_cast<std::uint32_t>(~from.as_ipv4().wire())
                       : net::difference(from.bytes().data(), to.bytes().data(), 16);
      ports += std::uint64_t{to_port.wire()} + static_cast<std::uint16_t>(~from_port.wire());
    }
  };
  rewrite_end(DirectionBlock::kRewriteSource, own.source(), own.source_port, block.source, block.source_port);
  rewrite_end(DirectionBlock::kRewriteDestination, own.destination(), own.destination_port, block.destination,
              block.destination_port);
  constexpr std::uint16_t kOneHop = 0x0100;  // the TTL is the upper byte of its 16-bit word
  const bool hop = (block.flags & DirectionBlock::kDecrementTtl) != 0;
  block.ip_checksum_delta = net::fold(addresses + (hop ? static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()) : 0u));
  // ICMP has no pseudo header in IPv4.
  block.l4_checksum_delta = net::fold(own.protocol == IpProtocol::kIcmp ? ports : addresses + ports);
}

}  // namespace isthmus
