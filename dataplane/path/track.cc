// track: finds the connections of a whole burst and lets those through whose decision still stands. A packet without a
// connection, or with a decision that a moved epoch, another peer or time has ended, goes on to admit.
#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// Does the decision hold for this very packet?
bool stands(const PathContext& context, const Packet& packet, const DirectionBlock& block) noexcept {
  if (!context.shared.flows->epochs().stands(block) ||
      (block.valid_until.value() != 0 && block.valid_until < context.now)) {
    return false;
  }
  if (packet.icmp_error) {  // a router or node on the way may report it; admission looks closer
    return false;
  }
  return block.from == packet.side && block.required_peer == packet.peer && block.required_vni == packet.vni;
}

}  // namespace

void track(PathContext& context, Burst& burst) noexcept {
  std::array<FlowKey, kMaxBurst> keys;
  std::array<Hit, kMaxBurst> hits;
  std::array<Packet*, kMaxBurst> packets;
  unsigned count = 0;
  for (Packet& packet : burst) {
    if (packet.alive()) {
      keys[count] = packet.key;
      packets[count++] = &packet;
    }
  }
  FlowTable& flows = *context.shared.flows;
  flows.find_burst(context.worker, {keys.data(), count}, {hits.data(), count});
  for (unsigned i = 0; i < count; ++i) {
    Packet& packet = *packets[i];
    const Hit& hit = hits[i];
    if (!hit) {
      context.counters.misses.add();
      continue;
    }
    context.counters.hits.add();
    if (FlowTable::reopens(hit, packet.tcp_flags)) {
      flows.remove(context.worker, hit);
      continue;
    }
    packet.hit = hit;
    // A SYN may be a new connection by an old name: admission looks whether its backend still takes new ones.
    const bool opens = (packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kAck)) == net::Tcp::kSyn;
    if (hit.block != nullptr && !opens && stands(context, packet, *hit.block)) {
      packet.block = hit.block;
    }
  }
}

}  // namespace isthmus
