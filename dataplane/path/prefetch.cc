// Prefetching for admission. One admission follows a chain of some ten lines, each the address of the next, and with
// many connections and services most of them lie in memory: alone it waits for one after the other. A burst walks the
// chains of all its packets side by side, a link at a time, and waits about once per link. Of what is read here
// admission takes over what lies in the snapshot, which it compares; the rest it reads again, under its own rules of
// order.
#include "dataplane/api/maglev.h"
#include "dataplane/path/admission.h"

namespace isthmus {
namespace {

// Where the packet goes behind translation.
const IpAddress& target_of(const Foreseen& ahead) noexcept {
  const bool reply = ahead.hit && ahead.packet->hit.direction == Direction::kReply;
  return reply ? ahead.forward.source : ahead.reply.source;
}

const BackendSet* backends_of(const Foreseen& ahead) noexcept {
  return ahead.frontend != nullptr ? ahead.frontend->backends.get() : nullptr;
}

void start(const PathContext& context, const Packet& packet, Foreseen& ahead) noexcept {
  ahead.packet = &packet;
  ahead.snapshot = context.snapshot;
  ahead.hit = static_cast<bool>(packet.hit);
  const FlowKey& key = packet.key;
  context.shared.endpoints.prefetch_bucket(key.realm, key.source);
  if (packet.hit) {
    context.shared.flows->prefetch_connection(packet.hit);
  }
}

// The connection's keys, and where its service stands.
void find_shard(const PathContext& context, Foreseen& ahead) noexcept {
  const Packet& packet = *ahead.packet;
  if (ahead.hit) {
    ahead.forward = packet.hit.connection->line(Direction::kForward).key;
    ahead.reply = packet.hit.connection->line(Direction::kReply).key;
  } else {
    ahead.forward = packet.key;
    ahead.reply = packet.key.reversed();
  }
  ahead.shard = &context.snapshot->shard(ahead.forward.realm, ahead.forward.destination);
  __builtin_prefetch(ahead.shard->frontends.data());
}

void find_service(Foreseen& ahead) noexcept {
  const FlowKey& forward = ahead.forward;
  ahead.frontend = ahead.shard->find(
      {forward.realm, forward.destination, forward.protocol, L4Port{forward.destination_port.host()}});
  __builtin_prefetch(backends_of(ahead));
}

void find_slot(Foreseen& ahead) noexcept {
  const BackendSet* set = backends_of(ahead);
  ahead.slot = 0;
  if (set == nullptr) {
    return;
  }
  __builtin_prefetch(set->backends.data());
  if (!ahead.hit && !set->ring.empty()) {
    const FlowKey& forward = ahead.forward;
    const Be16 client_port = ahead.frontend->client_affinity ? Be16{} : forward.source_port;
    ahead.slot = maglev_packet_hash(ahead.packet->family, forward.source, client_port, forward.destination_port,
                                    forward.protocol) %
                 static_cast<std::uint32_t>(set->ring.size());
    __builtin_prefetch(&set->ring[ahead.slot]);
  }
}

void find_backend(Foreseen& ahead) noexcept {
  const BackendSet* set = backends_of(ahead);
  if (set != nullptr && !ahead.hit && !set->ring.empty()) {
    __builtin_prefetch(&set->backends[set->ring[ahead.slot]]);
  }
}

// The reply key of a new connection, and the endpoint behind the service.
void find_target(const PathContext& context, Foreseen& ahead) noexcept {
  const FlowTable& flows = *context.shared.flows;
  if (!ahead.hit) {
    if (const BackendSet* set = backends_of(ahead); set != nullptr && !set->ring.empty()) {
      const BackendEntry& backend = set->backends[set->ring[ahead.slot]];
      ahead.reply.source = backend.address;
      ahead.reply.source_port = Be16::of(backend.port.value());
    }
    ahead.reply_hash = flows.hash(ahead.reply);
    flows.prefetch_bucket(ahead.reply_hash);
  }
  context.shared.endpoints.prefetch_bucket(ahead.reply.realm, target_of(ahead));
}

}  // namespace

void prefetch_admissions(PathContext& context, Burst& burst) noexcept {
  unsigned count = 0, inserts = 0, readmissions = 0;
  for (const Packet& packet : burst) {
    if (packet.alive() && packet.block == nullptr && !packet.icmp_error) {
      start(context, packet, context.foreseen[count++]);
    }
  }
  context.foreseen_count = count;
  const std::span<Foreseen> all(context.foreseen.data(), count);
  for (Foreseen& ahead : all) {
    find_shard(context, ahead);
  }
  for (Foreseen& ahead : all) {
    find_service(ahead);
  }
  for (Foreseen& ahead : all) {
    find_slot(ahead);
  }
  for (Foreseen& ahead : all) {
    find_backend(ahead);
  }
  for (Foreseen& ahead : all) {
    find_target(context, ahead);
  }
  const EndpointTable& endpoints = context.shared.endpoints;
  for (const Foreseen& ahead : all) {
    endpoints.prefetch_entry(ahead.packet->key.realm, ahead.packet->key.source);
    endpoints.prefetch_entry(ahead.reply.realm, target_of(ahead));
  }
  const FlowTable& flows = *context.shared.flows;
  for (const Foreseen& ahead : all) {
    if (ahead.hit) {
      flows.prefetch_readmit(context.worker, readmissions++);
    } else {
      flows.prefetch_insert(context.worker, inserts++);
    }
  }
}

}  // namespace isthmus
