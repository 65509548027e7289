// route: chooses the side, device, peer and next hop by which a direction leaves.
#include <algorithm>

#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

bool usable(const DecisionInput& in, ClusterId id, PeerId peer) noexcept {
  const PeerRecord& record = (*in.snapshot.peers)[peer];
  const auto& gateways = (*in.snapshot.clusters)[id].gateways;
  return record.known() && record.cluster == id &&
         (!record.gateway || std::find(gateways.begin(), gateways.end(), peer) != gateways.end());
}

// The peer that an existing connection keeps while it lives: replies go to the one that the forward direction comes
// from, the forward direction stays with the one it has.
PeerId peer_to_keep(const DecisionInput& in, const Decision& decision) noexcept {
  if (decision.opens) {
    return kNoPeer;
  }
  const DirectionBlock* current = in.facts.current;
  if (decision.direction == Direction::kForward && current != nullptr && current->encap_peer != kNoPeer) {
    return current->encap_peer;
  }
  const ConnectionShared& shared = in.facts.connection->shared;
  const bool its_own = (decision.direction == Direction::kReply) == (shared.from == Side::kFabric);
  return its_own ? in.snapshot.peers->find(shared.peer.load()) : kNoPeer;
}

// Else the cluster's live gateway that owns the connection, by hash; else the endpoint's own node.
PeerId choose_peer(const DecisionInput& in, const End& target, std::uint32_t hash, PeerId kept) noexcept {
  if (kept != kNoPeer && usable(in, target.cluster, kept)) {
    return kept;
  }
  if (const PeerId owner = in.snapshot.clusters->owner(target.cluster, hash); owner != kNoPeer) {
    return owner;
  }
  return target.published && usable(in, target.cluster, target.node) ? target.node : kNoPeer;
}

// The longest inner packet that the device takes behind `overhead` bytes.
std::uint16_t mtu_of(const DecisionInput& in, DeviceId device, std::uint32_t overhead) noexcept {
  constexpr std::uint32_t kLongest = 0xffff;
  return static_cast<std::uint16_t>(std::min(kLongest, in.tables.adjacencies.mtu(device).value() - overhead));
}

void leave_by_tunnel(const DecisionInput& in, PeerId id, std::uint32_t hash, Egress& egress) noexcept {
  const PeerRecord& peer = (*in.snapshot.peers)[id];
  egress.peer = id;
  egress.hash = hash;
  egress.device = in.tables.options.underlay_device;
  egress.adjacency = peer.adjacency;
  egress.mtu = mtu_of(in, egress.device, peer.header.overhead);
}

Refusal leave_locally(const DecisionInput& in, const IpAddress& target, Egress& egress) noexcept {
  const LocalRoute* found = in.snapshot.routes->find(in.facts.key.realm, target);
  if (found == nullptr) {
    return DropReason::kNoRoute;
  }
  egress.device = found->device;
  egress.adjacency = found->next_hop;
  egress.on_link = found->next_hop == kNoAdjacency;  // one neighbour per address, made when the decision is committed
  egress.mtu = mtu_of(in, egress.device, 0);
  return std::nullopt;
}

}  // namespace

Refusal route(const DecisionInput& in, Decision& decision) noexcept {
  decision.egress = Egress{};
  if (decision.destination.cluster == in.tables.options.cluster) {
    return leave_locally(in, decision.target(), decision.egress);
  }
  const std::uint32_t hash = symmetric_hash(decision.other());
  const PeerId peer = choose_peer(in, decision.destination, hash, peer_to_keep(in, decision));
  if (peer == kNoPeer) {
    in.tables.epochs.depend(decision.depends, EpochTable::of_gateways(decision.destination.cluster));
    return DropReason::kNoLiveGateway;
  }
  depend_on_peer(in, decision, peer);
  leave_by_tunnel(in, peer, hash, decision.egress);
  return std::nullopt;
}

bool route_reply(const DecisionInput& in, Decision& decision) noexcept {
  decision.reply_egress = Egress{};
  if (in.facts.origin.side() == Side::kLocal) {
    return !leave_locally(in, decision.forward->source(), decision.reply_egress);
  }
  const PeerId peer = in.facts.origin.peer();
  if (!usable(in, decision.source.cluster, peer)) {
    return false;
  }
  leave_by_tunnel(in, peer, symmetric_hash(*decision.forward), decision.reply_egress);
  return true;
}

}  // namespace isthmus
