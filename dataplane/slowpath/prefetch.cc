// Prefetching for admission. One admission follows a chain of some ten cache lines, each of which holds the address of
// the next; with many connections and services most of them miss the caches, one after the other. Here the chains of
// all packets of a burst are walked in parallel, one link at a time, so that a burst stalls about once per link.
// Admission reuses the results that come from the snapshot, after checking that it is still the same one; everything
// else it reads again in its own order (see admit.cc).
#include "dataplane/api/maglev.h"
#include "dataplane/slowpath/admission.h"

namespace isthmus {
namespace {

// Destination of the packet after translation.
IpAddress target_of(const PrefetchState& state) noexcept {
  const bool reply = state.hit && state.direction == Direction::kReply;
  return reply ? state.forward.source() : state.reply.source();
}

const BackendSet* backends_of(const PrefetchState& state) noexcept {
  return state.frontend != nullptr ? state.frontend->backends.get() : nullptr;
}

void start(const SlowContext& context, const Packet& packet, PrefetchState& state) noexcept {
  state.packet = &packet;
  state.snapshot = context.snapshot;
  const Hit hit = context.shared.flows->hit(packet.line);
  state.hit = static_cast<bool>(hit);
  state.direction = hit.direction;
  state.connection = hit.connection;
  const FlowKey& key = packet.key;
  context.shared.endpoints.prefetch_bucket(key.realm, key.source());
  if (hit) {
    context.shared.flows->prefetch_connection(hit);
  }
}

// The connection's keys, and the shard of its frontend.
void find_shard(const SlowContext& context, PrefetchState& state) noexcept {
  const Packet& packet = *state.packet;
  if (state.hit) {
    state.forward = state.connection->line(Direction::kForward).key;
    state.reply = state.connection->line(Direction::kReply).key;
  } else {
    state.forward = packet.key;
    state.reply = packet.key.reversed();
  }
  state.shard = &context.snapshot->shard(state.forward.realm, state.forward.destination());
  __builtin_prefetch(state.shard->frontends.data());
}

void find_service(PrefetchState& state) noexcept {
  const FlowKey& forward = state.forward;
  state.frontend = state.shard->find(
      {forward.realm, forward.destination(), forward.protocol, L4Port{forward.destination_port.host()}});
  __builtin_prefetch(backends_of(state));
}

void find_slot(PrefetchState& state) noexcept {
  const BackendSet* set = backends_of(state);
  state.slot = 0;
  if (set == nullptr) {
    return;
  }
  __builtin_prefetch(set->backends.data());
  if (!state.hit && !set->ring.empty()) {
    const FlowKey& forward = state.forward;
    const Be16 client_port = state.frontend->client_affinity ? Be16{} : forward.source_port;
    state.slot = maglev_packet_hash(state.packet->family, forward.source(), client_port, forward.destination_port,
                                    forward.protocol) %
                 static_cast<std::uint32_t>(set->ring.size());
    __builtin_prefetch(&set->ring[state.slot]);
  }
}

void prefetch_backend(PrefetchState& state) noexcept {
  const BackendSet* set = backends_of(state);
  if (set != nullptr && !state.hit && !set->ring.empty()) {
    __builtin_prefetch(&set->backends[set->ring[state.slot]]);
  }
}

// The reply key of a new connection, and the endpoint bucket of the destination.
void find_target(const SlowContext& context, PrefetchState& state) noexcept {
  const FlowTable& flows = *context.shared.flows;
  if (!state.hit) {
    if (const BackendSet* set = backends_of(state); set != nullptr && !set->ring.empty()) {
      const BackendEntry& backend = set->backends[set->ring[state.slot]];
      state.reply.set_source(backend.address);
      state.reply.source_port = Be16::of(backend.port.value());
    }
    state.reply_hash = flows.hash(state.reply);
    flows.prefetch_bucket(state.reply_hash);
  }
  context.shared.endpoints.prefetch_bucket(state.reply.realm, target_of(state));
}

}  // namespace

void prefetch_admissions(SlowContext& context, Burst& burst) noexcept {
  unsigned count = 0, inserts = 0, revalidations = 0;
  for (unsigned i = 0; i < burst.undecided.count; ++i) {
    Packet& packet = burst.packets[burst.undecided.index[i]];
    if (packet.key.family == Family::kIpv4) {
      packet.key.clear_tail();
    }
    if (!packet.icmp_error) {
      start(context, packet, context.prefetched[count++]);
    }
  }
  context.prefetched_count = count;
  const std::span<PrefetchState> all(context.prefetched.data(), count);
  for (PrefetchState& state : all) {
    find_shard(context, state);
  }
  for (PrefetchState& state : all) {
    find_service(state);
  }
  for (PrefetchState& state : all) {
    find_slot(state);
  }
  for (PrefetchState& state : all) {
    prefetch_backend(state);
  }
  for (PrefetchState& state : all) {
    find_target(context, state);
  }
  const EndpointTable& endpoints = context.shared.endpoints;
  for (const PrefetchState& state : all) {
    endpoints.prefetch_entry(state.packet->key.realm, state.packet->key.source());
    endpoints.prefetch_entry(state.reply.realm, target_of(state));
  }
  const FlowTable& flows = *context.shared.flows;
  for (const PrefetchState& state : all) {
    if (state.hit) {
      flows.prefetch_revalidate(context.worker, revalidations++);
    } else {
      flows.prefetch_insert(context.worker, inserts++);
    }
  }
}

}  // namespace isthmus
