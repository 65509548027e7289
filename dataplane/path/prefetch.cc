// Prefetching for admission. One admission follows a chain of some ten lines, each the address of the next, and with
// many connections and services most of them lie in memory: alone it waits for one after the other. A burst walks the
// chains of all its packets side by side, a link at a time, and waits about once per link. What is read here is only
// asked for: admission reads it again, under its own rules of order.
#include "dataplane/api/maglev.h"
#include "dataplane/path/admission.h"

namespace isthmus {
namespace {

// How far one packet's chain is known.
struct Ahead {
  const Packet* packet;
  const FrontendShard* shard;
  const BackendSet* backends;
  std::uint32_t slot;
  FlowKey forward, reply;  // of the connection it has, or would make
};

// Where the packet goes behind translation.
const IpAddress& target_of(const Ahead& ahead) noexcept {
  const bool reply = ahead.packet->hit && ahead.packet->hit.direction == Direction::kReply;
  return reply ? ahead.forward.source : ahead.reply.source;
}

void start(const PathContext& context, const Packet& packet, Ahead& ahead) noexcept {
  ahead.packet = &packet;
  ahead.backends = nullptr;
  const FlowKey& key = packet.key;
  context.shared.endpoints.prefetch_bucket(key.realm, key.source);
  if (packet.hit) {
    context.shared.flows->prefetch_connection(packet.hit);
  }
}

// The connection's keys, and where its service stands.
void find_shard(const PathContext& context, Ahead& ahead) noexcept {
  const Packet& packet = *ahead.packet;
  if (packet.hit) {
    ahead.forward = packet.hit.connection->line(Direction::kForward).key;
    ahead.reply = packet.hit.connection->line(Direction::kReply).key;
  } else {
    ahead.forward = packet.key;
    ahead.reply = packet.key.reversed();
  }
  ahead.shard = &context.snapshot->shard(ahead.forward.realm, ahead.forward.destination);
  __builtin_prefetch(ahead.shard->frontends.data());
}

void find_service(Ahead& ahead) noexcept {
  const FlowKey& forward = ahead.forward;
  const FrontendEntry* frontend = ahead.shard->find(
      {forward.realm, forward.destination, forward.protocol, L4Port{forward.destination_port.host()}});
  if (frontend != nullptr) {
    ahead.backends = frontend->backends.get();
    ahead.slot = frontend->client_affinity ? 0 : 1;
    __builtin_prefetch(ahead.backends);
  }
}

void find_slot(Ahead& ahead) noexcept {
  const BackendSet* set = ahead.backends;
  if (set == nullptr) {
    return;
  }
  __builtin_prefetch(set->backends.data());
  if (!ahead.packet->hit && !set->ring.empty()) {
    const FlowKey& forward = ahead.forward;
    const Be16 client_port = ahead.slot == 0 ? Be16{} : forward.source_port;
    ahead.slot = maglev_packet_hash(ahead.packet->family, forward.source, client_port, forward.destination_port,
                                    forward.protocol) %
                 static_cast<std::uint32_t>(set->ring.size());
    __builtin_prefetch(&set->ring[ahead.slot]);
  }
}

void find_backend(Ahead& ahead) noexcept {
  if (ahead.backends != nullptr && !ahead.packet->hit && !ahead.backends->ring.empty()) {
    __builtin_prefetch(&ahead.backends->backends[ahead.backends->ring[ahead.slot]]);
  }
}

// The reply key of a new connection, and the endpoint behind the service.
void find_target(const PathContext& context, Ahead& ahead, unsigned& inserts, unsigned& readmissions) noexcept {
  if (ahead.packet->hit) {
    context.shared.flows->prefetch_readmit(context.worker, readmissions++);
  } else {
    if (ahead.backends != nullptr && !ahead.backends->ring.empty()) {
      const BackendEntry& backend = ahead.backends->backends[ahead.backends->ring[ahead.slot]];
      ahead.reply.source = backend.address;
      ahead.reply.source_port = Be16::of(backend.port.value());
    }
    context.shared.flows->prefetch_insert(context.worker, ahead.reply, inserts++);
  }
  context.shared.endpoints.prefetch_bucket(ahead.reply.realm, target_of(ahead));
}

}  // namespace

void prefetch_admissions(const PathContext& context, Burst& burst) noexcept {
  std::array<Ahead, kMaxBurst> chains;
  unsigned count = 0, inserts = 0, readmissions = 0;
  for (const Packet& packet : burst) {
    if (packet.alive() && packet.block == nullptr && !packet.icmp_error) {
      start(context, packet, chains[count++]);
    }
  }
  const std::span<Ahead> all(chains.data(), count);
  for (Ahead& ahead : all) {
    find_shard(context, ahead);
  }
  for (Ahead& ahead : all) {
    find_service(ahead);
  }
  for (Ahead& ahead : all) {
    find_slot(ahead);
  }
  for (Ahead& ahead : all) {
    find_backend(ahead);
  }
  for (Ahead& ahead : all) {
    find_target(context, ahead, inserts, readmissions);
  }
  const EndpointTable& endpoints = context.shared.endpoints;
  for (const Ahead& ahead : all) {
    endpoints.prefetch_entry(ahead.packet->key.realm, ahead.packet->key.source);
    endpoints.prefetch_entry(ahead.reply.realm, target_of(ahead));
  }
}

}  // namespace isthmus
