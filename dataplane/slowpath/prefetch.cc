#include "dataplane/slowpath/prefetch.h"

#include <span>

#include "dataplane/base/prefetch.h"
#include "dataplane/slowpath/context.h"
#include "dataplane/slowpath/open.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

const BackendSet* backends_of(const Prefetched& state) noexcept {
  const Frontend* frontend = state.hints.frontend;
  return frontend != nullptr ? &frontend->backends_for(state.packet->origin.side()) : nullptr;
}

void start(const SlowContext& context, const Packet& packet, Prefetched& state) noexcept {
  const Hit hit = context.shared.flows->hit(packet.line);
  state.packet = &packet;
  state.connection = hit.connection;
  state.direction = hit.direction;
  state.plain = is_plain_opening(packet);
  state.hints.source_hash = address_hash(packet.key.realm, packet.key.source());
  if (state.plain) {
    context.known_ends.prefetch(state.hints.source_hash);
  } else {
    context.shared.endpoints.prefetch_bucket(state.hints.source_hash);
  }
  if (hit) {
    context.shared.flows->prefetch_connection(hit);
  }
}

// The place of its frontend.
void find_shard(const SlowContext& context, Prefetched& state) noexcept {
  state.forward = state.connection != nullptr ? &state.connection->line(Direction::kForward).key : &state.packet->key;
  const FlowKey& forward = *state.forward;
  state.hints.vip_hash = address_hash(forward.realm, forward.destination());
  context.snapshot->shard(state.hints.vip_hash)
      .prefetch(state.hints.vip_hash, forward.protocol, L4Port{forward.destination_port.host()});
}

void find_frontend(const SlowContext& context, Prefetched& state) noexcept {
  const FlowKey& forward = *state.forward;
  state.hints.snapshot = context.snapshot;
  state.hints.slot = 0;
  state.hints.frontend =
      context.snapshot->shard(state.hints.vip_hash)
          .find({forward.realm, forward.destination(), forward.protocol, L4Port{forward.destination_port.host()}},
                state.hints.vip_hash);
  prefetch_line(backends_of(state));
}

void find_slot(Prefetched& state) noexcept {
  const BackendSet* set = backends_of(state);
  if (set == nullptr) {
    return;
  }
  prefetch_line(set->backends.data());
  if (state.connection == nullptr && !set->ring.empty()) {
    state.hints.slot = ring_slot(*state.hints.frontend, state.packet->origin.side(), *state.forward);
    prefetch_line(&set->ring[state.hints.slot]);
  }
}

void find_backend(Prefetched& state) noexcept {
  const BackendSet* set = backends_of(state);
  state.hints.backend = nullptr;
  if (set != nullptr && state.connection == nullptr && !set->ring.empty()) {
    state.hints.backend = &set->backends[set->ring[state.hints.slot]];
    prefetch_line(state.hints.backend);
  }
}

// Of a plain opening: the reply key, and what is known of the destination.
void find_plain_target(const SlowContext& context, Prefetched& state) noexcept {
  constexpr std::uint64_t kAddress = 0xffffffff, kPort = 0xffff;
  const FlowTable& flows = *context.shared.flows;
  FlowKey::Ipv4Words reply = state.forward->reversed_ipv4_words();
  state.hints.target_hash = state.hints.vip_hash;
  if (const BackendEntry* backend = state.hints.backend) {
    reply.head = (reply.head & ~kAddress) | backend->address.as_ipv4().wire();
    reply.rest = (reply.rest & ~kPort) | Be16::of(backend->port.value()).wire();
    state.hints.target_hash = address_hash(state.forward->realm, backend->address);
  }
  state.hints.reply = reply;
  state.hints.reply_hash = flows.hasher().ipv4(reply.head, reply.rest);
  flows.prefetch_bucket(state.hints.reply_hash);
  context.known_ends.prefetch(state.hints.target_hash);
}

// The reply key of a new connection, and the endpoint bucket of the destination.
void find_target(const SlowContext& context, Prefetched& state) noexcept {
  const FlowTable& flows = *context.shared.flows;
  if (state.plain) {
    return find_plain_target(context, state);
  }
  if (state.connection == nullptr) {
    FlowKey reply = state.forward->reversed();
    if (const BackendEntry* backend = state.hints.backend) {
      reply.set_source(backend->address);
      reply.source_port = Be16::of(backend->port.value());
    }
    state.hints.reply_hash = flows.hash(reply);
    flows.prefetch_bucket(state.hints.reply_hash);
    state.hints.target_hash =
        state.hints.backend != nullptr ? address_hash(reply.realm, state.hints.backend->address) : state.hints.vip_hash;
  } else {
    const FlowKey& other = state.connection->line(opposite(state.direction)).key;
    state.hints.target_hash = address_hash(other.realm, other.source());
  }
  context.shared.endpoints.prefetch_bucket(state.hints.target_hash);
}

void prefetch_rest(const SlowContext& context, std::span<const Prefetched> states) noexcept {
  const FlowTable& flows = *context.shared.flows;
  bool inserts = false;
  unsigned revalidations = 0;
  for (const Prefetched& state : states) {
    if (!state.plain) {
      context.shared.endpoints.prefetch_entry(state.hints.source_hash);
      context.shared.endpoints.prefetch_entry(state.hints.target_hash);
    }
    if (state.connection != nullptr) {
      flows.prefetch_revalidate(context.worker, revalidations++);
    } else {
      inserts = true;
    }
  }
  for (unsigned i = 0; inserts && i < kInsertsAhead; ++i) {
    flows.prefetch_insert(context.worker, i);
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
  for (Prefetched& state : states) {
    find_backend(state);
  }
  for (Prefetched& state : states) {
    find_target(context, state);
  }
  prefetch_rest(context, states);
}

}  // namespace isthmus
