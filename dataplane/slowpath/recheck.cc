#include "dataplane/slowpath/recheck.h"

#include <algorithm>

#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

struct Recheck {
  const SlowContext& context;
  const Packet& packet;
  const Connection& connection;
  const DirectionBlock& block;
  Direction direction;
  const Hints* hints;

  [[nodiscard]] const FlowKey& forward() const noexcept { return connection.line(Direction::kForward).key; }
  [[nodiscard]] const FlowKey& reply() const noexcept { return connection.line(Direction::kReply).key; }
  // Without a backend of a service in between.
  [[nodiscard]] bool direct() const noexcept {
    return reply().source_port == forward().destination_port &&
           reply().source() == context.snapshot->aliases.to_own(forward().destination());
  }
};

bool depends_on(const DirectionBlock& block, EpochIndex word) noexcept {
  return std::find(std::begin(block.epoch_index), std::end(block.epoch_index), word) != std::end(block.epoch_index);
}

bool depends_on_service(const DirectionBlock& block) noexcept {
  return std::any_of(std::begin(block.epoch_index), std::end(block.epoch_index),
                     [](EpochIndex word) { return EpochTable::kind_of(word) == EpochKind::kService; });
}

// What leaves by a tunnel alone: a next hop of our own may have been freed.
bool ends_stand(const Recheck& r) noexcept {
  if ((r.block.flags & DirectionBlock::kTunnel) == 0) {
    return false;
  }
  const FlowKey& key = r.packet.key;
  const IpAddress target = r.connection.line(opposite(r.direction)).key.source();
  End source, destination;
  find_end(*r.context.snapshot, r.context.shared.endpoints, key.realm, key.source(),
           r.hints != nullptr ? r.hints->source_hash : address_hash(key.realm, key.source()), source);
  find_end(*r.context.snapshot, r.context.shared.endpoints, key.realm, target,
           r.hints != nullptr ? r.hints->target_hash : address_hash(key.realm, target), destination);
  if (digest_of(source, destination) != r.block.ends) {
    return false;
  }
  if (!r.direct()) {  // the word of a VIP without a service looks the same
    return depends_on_service(r.block);
  }
  const IpAddress vip = r.forward().destination();
  const std::uint64_t hash = address_hash(key.realm, vip);
  return !r.context.snapshot->shard(hash).has_vip(key.realm, vip, hash);
}

// Replies pass even after the backend has left the service.
bool service_stands(const Recheck& r) noexcept {
  const FlowKey& forward = r.forward();
  const IpAddress vip = forward.destination();
  const std::uint64_t hash = r.hints != nullptr ? r.hints->vip_hash : address_hash(forward.realm, vip);
  const Frontend* frontend = r.context.snapshot->shard(hash).find(
      {forward.realm, vip, forward.protocol, L4Port{forward.destination_port.host()}}, hash);
  if (frontend == nullptr || r.direct() || !depends_on(r.block, EpochTable::of_service(frontend->service))) {
    return false;
  }
  if (r.direction == Direction::kReply) {
    return true;
  }
  const IpAddress client = forward.source();
  return frontend->serves(client, fleet_form(*r.context.snapshot, client)) &&
         frontend->index->find(*frontend->backends, r.reply().source(), L4Port{r.reply().source_port.host()}) !=
             nullptr;
}

// The sender is of the source's cluster, live, and that to which replies go; and the packet can still go to the peer
// that it went to.
bool peers_stand(const Recheck& r) noexcept {
  const Snapshot& snapshot = *r.context.snapshot;
  const Origin origin = r.block.origin;
  if (origin.side() == Side::kFabric) {
    const PeerRecord& sender = (*snapshot.peers)[origin.peer()];
    const bool followed =
        r.direction == Direction::kReply || (r.connection.shared.peer.load() == sender.underlay &&
                                             is_usable(snapshot, r.block.source_cluster, origin.peer()));
    if (!sender.known() || sender.cluster != r.block.source_cluster || !followed) {
      return false;
    }
  }
  if ((r.block.flags & DirectionBlock::kTunnel) == 0) {
    return true;
  }
  const PeerRecord& peer = (*snapshot.peers)[r.block.encap_peer];
  return is_usable(snapshot, r.block.destination_cluster, r.block.encap_peer) && peer.adjacency == r.block.adjacency &&
         mtu_behind(r.context.shared.adjacencies, r.block.device, peer) == r.block.mtu;
}

}  // namespace

bool recheck(SlowContext& context, const Packet& packet, const Hit& hit, Parts parts, const Hints* hints) noexcept {
  const Recheck r{context, packet, *hit.connection, *hit.block, hit.direction, hints};
  const EpochSample now = context.shared.flows->epochs().sample(r.block);
  constexpr std::uint32_t kPeers = EpochSample::bit(EpochKind::kPeer);
  constexpr std::uint32_t kAll = kPeers | EpochSample::bit(EpochKind::kService) | EpochSample::bit(EpochKind::kAddress);
  if (!now.known || (now.kinds & ~(parts == Parts::kPeers ? kPeers : kAll)) != 0) {
    return false;
  }
  const bool stands = (!now.moved(EpochKind::kPeer) || peers_stand(r)) &&
                      (!now.moved(EpochKind::kService) || service_stands(r)) &&
                      (!now.moved(EpochKind::kAddress) || ends_stand(r));
  if (!stands || context.shared.snapshot.load(std::memory_order_acquire) != context.snapshot) {
    return false;
  }
  context.shared.flows->restamp(hit, now);
  return true;
}

}  // namespace isthmus
