#include "dataplane/slowpath/prefetch.h"

#include <span>

#include "dataplane/slowpath/context.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

const BackendSet* backends_of(const Prefetched& state) noexcept {
  return state.hints.frontend != nullptr ? state.hints.frontend->backends.get() : nullptr;
}

void start(const SlowContext& context, const Packet& packet, Prefetched& state) noexcept {
  const Hit hit = context.shared.flows->hit(packet.line);
  state.packet = &packet;
  state.connection = hit.connection;
  state.direction = hit.direction;
  state.source_hash = address_hash(packet.key.realm, packet.key.source());
  context.shared.endpoints.prefetch_bucket(state.source_hash);
  if (hit) {
    context.shared.flows->prefetch_connection(hit);
  }
}

// The place of its frontend.
void find_shard(const SlowContext& context, Prefetched& state) noexcept {
  state.forward = state.connection != nullptr ? &state.connection->line(Direction::kForward).key : &state.packet->key;
  const FlowKey& forward = *state.forward;
  state.vip_hash = address_hash(forward.realm, forward.destination());
  context.snapshot->shard(state.vip_hash)
      .prefetch(state.vip_hash, forward.protocol, L4Port{forward.destination_port.host()});
}

void find_frontend(const SlowContext& context, Prefetched& state) noexcept {
  const FlowKey& forward = *state.forward;
  state.hints.snapshot = context.snapshot;
  state.hints.slot = 0;
  state.hints.frontend =
      context.snapshot->shard(state.vip_hash)
          .find({forward.realm, forward.destination(), forward.protocol, L4Port{forward.destination_port.host()}},
                state.vip_hash);
  __builtin_prefetch(backends_of(state));
}

void find_slot(Prefetched& state) noexcept {
  const BackendSet* set = backends_of(state);
  if (set == nullptr) {
    return;
  }
  __builtin_prefetch(set->backends.data());
  if (state.connection == nullptr && !set->ring.empty()) {
    state.hints.slot = ring_slot(*state.hints.frontend, *state.forward);
    __builtin_prefetch(&set->ring[state.hints.slot]);
  }
}

void prefetch_backend(const Prefetched& state) noexcept {
  const BackendSet* set = backends_of(state);
  if (set != nullptr && state.connection == nullptr && !set->ring.empty()) {
    __builtin_prefetch(&set->backends[set->ring[state.hints.slot]]);
  }
}

// The reply key of a new connection, and the endpoint bucket of the destination.
void find_target(const SlowContext& context, Prefetched& state) noexcept {
  const FlowTable& flows = *context.shared.flows;
  if (state.connection == nullptr) {
    state.reply = state.forward->reversed();
    if (const BackendSet* set = backends_of(state); set != nullptr && !set->ring.empty()) {
      const BackendEntry& backend = set->backends[set->ring[state.hints.slot]];
      state.reply.set_source(backend.address);
      state.reply.source_port = Be16::of(backend.port.value());
    }
    state.reply_hash = flows.hash(state.reply);
    flows.prefetch_bucket(state.reply_hash);
    state.target_hash = address_hash(state.reply.realm, state.reply.source());
  } else {
    const FlowKey& other = state.connection->line(opposite(state.direction)).key;
    state.target_hash = address_hash(other.realm, other.source());
  }
  context.shared.endpoints.prefetch_bucket(state.target_hash);
}

void prefetch_rest(const SlowContext& context, std::span<const Prefetched> states) noexcept {
  const FlowTable& flows = *context.shared.flows;
  unsigned inserts = 0, revalidations = 0;
  for (const Prefetched& state : states) {
    context.shared.endpoints.prefetch_entry(state.source_hash);
    context.shared.endpoints.prefetch_entry(state.target_hash);
    if (state.connection != nullptr) {
      flows.prefetch_revalidate(context.worker, revalidations++);
    } else {
      flows.prefetch_insert(context.worker, inserts++);
    }
  }
}

}  // namespace

void prefetch_decisions(SlowContext& context, const Burst& burst, const PacketList& list) noexcept {
  const std::span<Prefetched> states(context.prefetches.states.data(), list.count);
  for (unsigned i = 0; i < list.count; ++i) {
    start(context, burst.packets[list.index[i]], states[i]);
  }
  for (Prefetched& state : states) {
    find_shard(context, state);
  }
  for (Prefetched& state : states) {
    find_frontend(context, state);
  }
  for (Prefetched& state : states) {
    find_slot(state);
  }
  for (const Prefetched& state : states) {
    prefetch_backend(state);
  }
  for (Prefetched& state : states) {
    find_target(context, state);
  }
  prefetch_rest(context, states);
}

}  // namespace isthmus
