// route: chooses the side, device, peer and next hop by which a direction leaves.
#include <algorithm>

#include "dataplane/conntrack/lifecycle.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// The peer that an existing connection keeps while it lives: replies go to the one that the forward direction comes
// from, the forward direction stays with the one it has.
PeerId peer_to_keep(const DecisionInput& in, const Decision& decision) noexcept {
  if (decision.opens) {
    return kNoPeer;
  }
  const DirectionBlock* current = in.facts.current;
  if (decision.dsr) {  // each direction by itself
    return current != nullptr ? current->encap_peer : kNoPeer;
  }
  if (decision.direction == Direction::kForward && current != nullptr && current->encap_peer != kNoPeer) {
    return current->encap_peer;
  }
  const ConnectionShared& shared = in.facts.connection->shared;
  const bool its_own = (decision.direction == Direction::kReply) == (shared.from == Side::kFabric);
  if (its_own) {
    return in.snapshot.peers->find(shared.peer.load());
  }
  const std::uint32_t exit =
      decision.direction == Direction::kForward ? shared.exit.load(std::memory_order_relaxed) : 0;
  const auto& gateways = (*in.snapshot.clusters)[decision.destination.cluster].gateways;
  const auto found = std::find_if(gateways.begin(), gateways.end(), [&](PeerId id) {
    return exit != 0 && exit_of((*in.snapshot.peers)[id].underlay) == exit;
  });
  return found != gateways.end() ? *found : kNoPeer;
}

// Whether the forward direction comes from the peer that replies should go to, although it is not live: it is drained,
// or it has returned, and probes have not shown that yet. At another one nobody would know the connection. Of a drained
// one that holds however long the connection has been idle: once it has ended, it is drained no more but silent.
bool still_forwards(const DecisionInput& in, const Decision& decision, PeerId peer) noexcept {
  constexpr std::uint32_t kSeconds = 2;
  if (decision.opens || decision.direction != Direction::kReply) {
    return false;
  }
  const auto& left = (*in.snapshot.clusters)[decision.destination.cluster].left;
  const bool drained = std::find(left.begin(), left.end(), peer) != left.end();
  if (!drained && (in.facts.connection->shared.user_flags() & kReturnedFlag) == 0) {
    return false;
  }
  const DirectionLine& forward = in.facts.connection->line(Direction::kForward);
  const PeerRecord& record = (*in.snapshot.peers)[peer];
  return record.known() && record.cluster == decision.destination.cluster &&
         (drained || lifecycle::idle_since(forward.seen.load(std::memory_order_relaxed), in.facts.now) <= kSeconds);
}

// Whether what goes to a node has another one to go to: the address is that of a pod there now.
bool is_elsewhere(const DecisionInput& in, const Decision& decision, PeerId kept) noexcept {
  const End& target = decision.destination;
  return decision.direction == Direction::kForward && target.published && target.node != kNoPeer &&
         target.node != kept && !(*in.snapshot.peers)[kept].gateway;
}

// Else the cluster's live gateway that owns the connection, by hash; else the endpoint's own node.
PeerId choose_peer(const DecisionInput& in, const Decision& decision, const End& target, std::uint32_t hash,
                   PeerId kept) noexcept {
  if (kept != kNoPeer && !is_elsewhere(in, decision, kept) &&
      (is_usable(in.snapshot, target.cluster, kept) || still_forwards(in, decision, kept))) {
    return kept;
  }
  if (const PeerId owner = in.snapshot.clusters->owner(target.cluster, hash); owner != kNoPeer) {
    return owner;
  }
  return target.published && is_usable(in.snapshot, target.cluster, target.node) ? target.node : kNoPeer;
}

// Whether an established connection stays with a peer that is not live, for want of a gateway that is: nobody else
// could carry it, and the kernel may do so there while no engine answers probes.
bool may_stay(const DecisionInput& in, const Decision& decision, PeerId kept) noexcept {
  const PeerRecord& record = (*in.snapshot.peers)[kept];
  return !decision.opens && in.facts.connection->opened() && record.known() &&
         record.cluster == decision.destination.cluster && record.adjacency != kNoAdjacency;
}

void leave_by_tunnel(const DecisionInput& in, PeerId id, std::uint32_t hash, Egress& egress) noexcept {
  const PeerRecord& peer = (*in.snapshot.peers)[id];
  egress.peer = id;
  egress.hash = hash;
  egress.device = in.tables.options.underlay_device;
  egress.adjacency = peer.adjacency;
  egress.mtu = mtu_behind(in.tables.adjacencies, egress.device, peer);
}

// By a route: outside a tunnel, or in that of the own node which has the address.
// `other`: the key of the other direction.
void leave_by_route(const DecisionInput& in, const LocalRoute* found, const FlowKey& other, Egress& egress) noexcept {
  if (found->peer != kNoPeer && (*in.snapshot.peers)[found->peer].known()) {
    leave_by_tunnel(in, found->peer, symmetric_hash(other), egress);
    egress.within = true;
    return;
  }
  egress.device = found->device;
  egress.adjacency = found->next_hop;
  egress.on_link = found->next_hop == kNoAdjacency;  // one neighbour per address, made when the decision is committed
  egress.mtu = mtu_of(in.tables.adjacencies, egress.device);
}

const LocalRoute* route_to(const DecisionInput& in, const IpAddress& address) noexcept {
  return in.snapshot.routes->find(in.facts.key.realm, address);
}

}  // namespace

bool is_usable(const Snapshot& snapshot, ClusterId cluster, PeerId peer) noexcept {
  const PeerRecord& record = (*snapshot.peers)[peer];
  const auto& gateways = (*snapshot.clusters)[cluster].gateways;
  return record.known() && record.cluster == cluster &&
         (!record.gateway || std::find(gateways.begin(), gateways.end(), peer) != gateways.end());
}

std::uint16_t mtu_of(const AdjacencyTable& adjacencies, DeviceId device) noexcept {
  constexpr std::uint32_t kLongest = 0xffff;
  return static_cast<std::uint16_t>(std::min(kLongest, adjacencies.mtu(device).value()));
}

std::uint16_t mtu_behind(const AdjacencyTable& adjacencies, DeviceId device, const PeerRecord& peer) noexcept {
  return peer.inner_mtu(adjacencies.mtu(device));
}

bool is_native(const DecisionInput& in, const IpAddress& address) noexcept {
  const LocalRoute* found = in.snapshot.routes->has_native() ? route_to(in, address) : nullptr;
  return found != nullptr && found->native;
}

Refusal route(const DecisionInput& in, Decision& decision) noexcept {
  decision.egress = Egress{};
  const bool own = decision.destination.cluster == in.tables.options.cluster;
  const LocalRoute* found = own || in.snapshot.routes->has_native() ? route_to(in, decision.target()) : nullptr;
  if (found != nullptr && found->native != own) {
    if (found->peer != kNoPeer) {
      depend_on_peer(in, decision, found->peer);
    }
    leave_by_route(in, found, decision.other(), decision.egress);
    return std::nullopt;
  }
  if (own) {
    return DropReason::kNoRoute;
  }
  const std::uint32_t hash = symmetric_hash(decision.other());
  const PeerId kept = peer_to_keep(in, decision);
  PeerId peer = choose_peer(in, decision, decision.destination, hash, kept);
  if (peer == kNoPeer) {  // until one is live; that word tells of the kept peer too
    in.tables.epochs.depend(decision.depends, EpochTable::of_gateways(decision.destination.cluster));
    if (!may_stay(in, decision, kept)) {
      return DropReason::kNoLiveGateway;
    }
    peer = kept;
  } else {
    depend_on_peer(in, decision, peer);
  }
  leave_by_tunnel(in, peer, hash, decision.egress);
  return std::nullopt;
}

bool route_reply(const DecisionInput& in, Decision& decision) noexcept {
  decision.reply_egress = Egress{};
  const PeerId peer = in.facts.origin.peer();
  if (peer != kNoPeer && decision.source.cluster != in.tables.options.cluster) {
    if (is_usable(in.snapshot, decision.source.cluster, peer)) {
      leave_by_tunnel(in, peer, symmetric_hash(*decision.forward), decision.reply_egress);
      return true;
    }
    return false;
  }
  // To our own cluster, or to one with native routing.
  const LocalRoute* found = route_to(in, decision.forward->source());
  if (found == nullptr) {
    return false;
  }
  if (found->peer != kNoPeer) {
    depend_on_peer(in, decision, found->peer);
  }
  leave_by_route(in, found, *decision.forward, decision.reply_egress);
  return true;
}

// Nodes whose Cilium may have been told to take the option are tunnel ends of their own, by Geneve, and no gateways. Of
// a new connection, nothing else may be on the way, which would have to undo the translation; aliases are translated by
// us alone. An existing one stays with its node while the backend is at no other.
bool may_return_directly(const DecisionInput& in, const Decision& decision, const IpAddress& backend) noexcept {
  const EngineOptions& options = in.tables.options;
  const FlowKey& forward = *decision.forward;
  const bool carried = forward.protocol == IpProtocol::kTcp || forward.protocol == IpProtocol::kUdp;
  if (!options.direct_return || !carried || decision.source.cluster != options.cluster ||
      !in.snapshot.aliases.empty() || backend == forward.source()) {
    return false;
  }
  const End& end = decision.destination;
  PeerId node = kNoPeer;
  if (end.cluster == options.cluster) {
    const LocalRoute* found = route_to(in, backend);
    node = found != nullptr && !found->native ? found->peer : kNoPeer;
  } else if (!is_native(in, backend)) {
    const bool alone = in.snapshot.clusters->owner(end.cluster, 0) == kNoPeer;
    const PeerId at = end.published ? end.node : kNoPeer, kept = peer_to_keep(in, decision);
    const bool stays = !decision.opens && (at == kNoPeer || at == kept);
    node = stays ? kept : decision.opens && alone ? at : kNoPeer;
  }
  const PeerRecord& record = (*in.snapshot.peers)[node];
  return record.known() && !record.gateway && record.cluster == end.cluster &&
         record.header.kind == EncapsulationKind::kGeneve;
}

Refusal route_dsr_reply(const DecisionInput& in, Decision& decision) noexcept {
  decision.reply_egress = Egress{};
  const End& client = decision.source;
  const bool own = client.cluster == in.tables.options.cluster;
  const LocalRoute* found =
      own || in.snapshot.routes->has_native() ? route_to(in, decision.forward->source()) : nullptr;
  if (found != nullptr && found->native != own) {
    if (found->peer != kNoPeer) {
      depend_on_peer(in, decision, found->peer);
    }
    leave_by_route(in, found, *decision.forward, decision.reply_egress);
    return std::nullopt;
  }
  const std::uint32_t hash = symmetric_hash(*decision.forward);
  const PeerId peer = own ? kNoPeer : choose_peer(in, decision, client, hash, kNoPeer);
  if (peer == kNoPeer) {
    in.tables.epochs.depend_once(decision.depends, EpochTable::of_gateways(client.cluster));
    return own ? DropReason::kNoRoute : DropReason::kNoLiveGateway;
  }
  in.tables.epochs.depend_once(decision.depends, EpochTable::of_peer(peer));
  leave_by_tunnel(in, peer, hash, decision.reply_egress);
  return std::nullopt;
}

}  // namespace isthmus
