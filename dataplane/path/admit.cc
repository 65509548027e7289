// admit: decides for packets without a valid decision, and publishes the result.
//
// Ordering against publishers: they make new data visible first and then bump epoch words. Here the words are sampled
// first and the tables read afterwards. The snapshot was loaded before either, so its pointer is compared again before
// a decision is handed to the connection table: if it has changed, a word may already carry the new value although the
// data read was old, and the decision is discarded and repeated.
#include <optional>

#include "dataplane/flow/source_ports.h"
#include "dataplane/path/admission.h"
#include "dataplane/path/output.h"
#include "dataplane/path/parse.h"
#include "dataplane/path/path.h"
#include "dataplane/path/report.h"

namespace isthmus {
namespace {

constexpr unsigned kSnapshotRetries = 4;
constexpr unsigned kBackendTries = 4;

bool snapshot_changed(const PathContext& context) noexcept {
  return context.shared.snapshot.load(std::memory_order_acquire) != context.snapshot;
}

// The steps that new and existing connections share, once both keys are known.
std::optional<DropReason> decide(PathContext& context, Admission& admission) noexcept {
  if (const auto drop = policy(context, admission)) {
    return drop;
  }
  return route(context, admission);
}

// Gives the packet its decision. If the table has no block for it, a scratch block serves for this packet only.
void apply(PathContext& context, Packet& packet, const Hit& hit, const DirectionBlock& block) noexcept {
  packet.hit = hit;
  if (hit.block != nullptr) {
    packet.block = hit.block;
    return;
  }
  DirectionBlock& scratch = context.scratch[context.scratch_used++ % context.scratch.size()];
  scratch = block;
  packet.block = &scratch;
}

// Marks in the connection that its source is a published endpoint, so that the connection ends when the endpoint does.
void record_source(const Admission& admission, const Hit& hit) noexcept {
  std::atomic<std::uint32_t>& flags = hit.shared().user_flags;
  const std::uint32_t flag = published_flag(admission.direction);
  if (admission.source_published && (flags.load(std::memory_order_relaxed) & flag) == 0) {
    flags.fetch_or(flag, std::memory_order_relaxed);
  }
}

// Tries once to insert the connection with the reply key in `admission`. Also returns kExists if the snapshot has
// changed: in both cases the caller starts over with this packet.
InsertOutcome try_insert(PathContext& context, Admission& admission, Packet& packet) noexcept {
  finish_rewrite(admission);
  if (snapshot_changed(context)) {
    return InsertOutcome::kExists;
  }
  FlowTable& flows = *context.shared.flows;
  NewConnection connection;
  connection.forward = admission.forward;
  connection.reply = admission.reply;
  const PrefetchState* state =
      admission.prefetched != nullptr && !admission.prefetched->hit ? admission.prefetched : nullptr;
  connection.forward_hash = packet.hash;
  connection.reply_hash =
      state != nullptr && state->reply == connection.reply ? state->reply_hash : flows.hash(connection.reply);
  connection.user_flags = admission.source_published ? published_flag(admission.direction) : 0;
  connection.forward_block = &admission.block;
  if (admission.frontend != nullptr) {
    connection.service = admission.frontend->service;
    connection.backend = admission.backend->id;
    connection.backend_cluster = admission.backend->cluster;
  }
  connection.forward_peer = packet.peer;
  connection.source_identity = admission.source_identity;
  connection.from = packet.side;
  connection.to = admission.block.to;
  const InsertResult result = flows.insert(context.worker, connection, context.now);
  if (result.outcome == InsertOutcome::kInserted) {
    context.inserted.add(connection.forward_hash);
    context.inserted.add(connection.reply_hash);
    apply(context, packet, result.hit, admission.block);
  } else if (result.outcome == InsertOutcome::kExists) {
    packet.hit = result.hit;  // another worker was first: use its connection like any hit
  }
  return result.outcome;
}

std::optional<DropReason> drop_reason_of(InsertOutcome outcome) noexcept {
  switch (outcome) {
    case InsertOutcome::kFull:
      return DropReason::kTableFull;
    case InsertOutcome::kHalfOpenLimit:
      return DropReason::kHalfOpenLimit;
    case InsertOutcome::kReplyTaken:
      return DropReason::kTranslationExhausted;
    default:
      return std::nullopt;
  }
}

PortRange port_range(const PathContext& context, IpProtocol protocol) noexcept {
  if (protocol == IpProtocol::kIcmp || protocol == IpProtocol::kIcmpv6) {
    return kEchoIdentifiers;
  }
  return {context.shared.options.translation_first, context.shared.options.translation_last};
}

// Tries source ports for the backend in `admission` until one gives a free reply key.
InsertOutcome insert_with_port(PathContext& context, Admission& admission, Packet& packet) noexcept {
  const std::uint64_t random = std::uint64_t{context.next_random()} << 32 | context.next_random();
  const bool echo_reply =
      admission.forward.source_port == Be16{} && admission.forward.destination_port != Be16{} &&
      (admission.forward.protocol == IpProtocol::kIcmp || admission.forward.protocol == IpProtocol::kIcmpv6);
  SourcePorts ports(port_range(context, admission.forward.protocol), L4Port{admission.forward.source_port.host()},
                    random);
  InsertOutcome outcome = InsertOutcome::kReplyTaken;
  while (outcome == InsertOutcome::kReplyTaken && !echo_reply) {
    const auto port = ports.next();
    if (!port) {
      break;
    }
    admission.reply.destination_port = Be16::of(port->value());
    outcome = try_insert(context, admission, packet);
  }
  return outcome;
}

// Replies return through this gateway only if exactly one of the two ends is in our cluster. Otherwise the source is
// translated too, to an address of the gateway.
std::optional<DropReason> set_reply_address(const PathContext& context, Admission& admission) noexcept {
  const ClusterId own = context.shared.options.cluster;
  admission.reply.destination = admission.forward.source;
  if ((admission.source_cluster == own) != (admission.backend->cluster == own)) {
    return std::nullopt;
  }
  const auto& address = admission.packet.family == Family::kIpv4 ? context.shared.options.translation_ipv4
                                                                 : context.shared.options.translation_ipv6;
  if (!address) {
    return DropReason::kNoTranslationAddress;
  }
  admission.reply.destination = *address;
  return std::nullopt;
}

// Sets the reply key for one backend, then runs policy and route.
std::optional<DropReason> try_backend(PathContext& context, Admission& admission,
                                      const BackendEntry& backend) noexcept {
  admission.backend = &backend;
  admission.destination_cluster = backend.cluster;
  admission.reply.source = backend.address;
  admission.reply.source_port = Be16::of(backend.port.value());
  admission.reply.destination_port = admission.forward.source_port;
  if (const auto drop = set_reply_address(context, admission)) {
    return drop;
  }
  return decide(context, admission);
}

// A new connection to a VIP: the ring's backend first; if the reply key is taken, the next backends; at last other
// source ports with the first backend.
std::optional<DropReason> insert_service(PathContext& context, Admission& admission, Packet& packet) noexcept {
  BackendWalk walk = walk_backends(context, admission);
  const BackendEntry* first = nullptr;
  std::optional<DropReason> last_drop = DropReason::kNoLiveBackend;
  for (unsigned tries = 0; tries < kBackendTries; ++tries) {
    const BackendEntry* backend = walk.next();
    if (backend == nullptr) {
      break;
    }
    last_drop = try_backend(context, admission, *backend);
    if (last_drop == DropReason::kPolicyDenied || last_drop == DropReason::kPolicyDeny) {
      return last_drop;  // no fallback: policy must not change which backend the ring selects
    }
    if (last_drop) {
      continue;  // another backend may still be reachable
    }
    if (first == nullptr) {
      first = backend;
    }
    const bool translated = admission.reply.destination != admission.forward.source;
    const InsertOutcome outcome =
        translated ? insert_with_port(context, admission, packet) : try_insert(context, admission, packet);
    if (outcome != InsertOutcome::kReplyTaken) {
      return drop_reason_of(outcome);
    }
  }
  if (first == nullptr) {
    return last_drop;
  }
  if (const auto drop = try_backend(context, admission, *first)) {
    return drop;
  }
  return drop_reason_of(insert_with_port(context, admission, packet));
}

// A new connection to an address that is not a VIP.
std::optional<DropReason> insert_direct(PathContext& context, Admission& admission, Packet& packet) noexcept {
  const auto& options = context.shared.options;
  admission.reply = admission.forward.reversed();
  const IpAddress& target = admission.forward.destination;
  if (target == options.translation_ipv4 || target == options.translation_ipv6) {
    return DropReason::kNoMapping;
  }
  admission.destination_cluster = context.snapshot->clusters->cluster_of(admission.forward.realm, target);
  if (admission.destination_cluster == kNoCluster) {
    return DropReason::kNoRoute;
  }
  if (const auto drop = decide(context, admission)) {
    return drop;
  }
  const InsertOutcome outcome = try_insert(context, admission, packet);
  return drop_reason_of(outcome == InsertOutcome::kReplyTaken ? insert_with_port(context, admission, packet) : outcome);
}

std::optional<DropReason> admit_new(PathContext& context, Admission& admission) noexcept {
  Packet& packet = admission.packet;
  context.shared.flows->epochs().sample_none(admission.block);
  admission.forward = packet.key;
  admission.reply = packet.key.reversed();
  if (packet.icmp_error) {
    return DropReason::kUnsupportedIcmp;
  }
  if (const auto drop = validate_source(context, admission)) {
    return drop;
  }
  if (packet.reopens) {
    context.shared.flows->remove(context.worker, packet.hit);
    packet.hit = Hit{};
    packet.reopens = false;
  }
  constexpr std::uint8_t kSynAck = net::Tcp::kSyn | net::Tcp::kAck;
  if (packet.key.protocol == IpProtocol::kTcp && (packet.tcp_flags & kSynAck) != net::Tcp::kSyn &&
      (context.shared.options.midstream == MidstreamPolicy::kDrop || (packet.tcp_flags & net::Tcp::kRst) != 0)) {
    return DropReason::kMidstream;
  }
  const ServiceResult result = service(context, admission);
  if (result.drop) {
    return result.drop;
  }
  return admission.frontend != nullptr ? insert_service(context, admission, packet)
                                       : insert_direct(context, admission, packet);
}

// Decides again for the direction in packet.hit. Sets `removed` if the connection no longer exists; the caller then
// treats the packet as one of a new connection.
std::optional<DropReason> revalidate(PathContext& context, Admission& admission, bool& removed) noexcept {
  Packet& packet = admission.packet;
  context.shared.flows->epochs().sample_none(admission.block);
  admission.existing = true;
  admission.direction = packet.hit.direction;
  admission.forward = packet.hit.connection->line(Direction::kForward).key;
  admission.reply = packet.hit.connection->line(Direction::kReply).key;
  if (const auto drop = validate_source(context, admission)) {
    return drop;
  }
  if (packet.icmp_error &&
      context.snapshot->clusters->cluster_of(packet.key.realm, sender_of(packet)) != admission.source_cluster) {
    return packet.side == Side::kFabric ? DropReason::kSourceOutsideCluster : DropReason::kForeignSource;  // RFC 5508 4
  }
  const ServiceResult result = service(context, admission);
  if (result.drop) {
    return result.drop;
  }
  if (result.outcome == ServiceOutcome::kReselect) {
    context.shared.flows->remove(context.worker, packet.hit);
    removed = true;
    return std::nullopt;
  }
  admission.destination_cluster = context.snapshot->clusters->cluster_of(admission.own().realm, admission.target());
  if (admission.destination_cluster == kNoCluster) {
    return DropReason::kNoRoute;
  }
  if (const auto drop = decide(context, admission)) {
    return drop;
  }
  if (snapshot_changed(context)) {
    return std::nullopt;
  }
  finish_rewrite(admission);
  context.counters.revalidations.add();
  if (packet.icmp_error) {  // its origin says nothing about that of the connection's packets
    apply(context, packet, Hit{}, admission.block);
    return std::nullopt;
  }
  record_source(admission, packet.hit);
  if (admission.direction == Direction::kForward) {
    packet.hit.shared().forward_peer.store(packet.peer.value(), std::memory_order_relaxed);
  }
  const RevalidateOutcome outcome = context.shared.flows->revalidate(context.worker, packet.hit, admission.block);
  if (outcome == RevalidateOutcome::kRemoved) {
    removed = true;
    return std::nullopt;
  }
  Hit hit = packet.hit;
  if (outcome != RevalidateOutcome::kPublished) {
    hit.block = nullptr;  // use our own decision, for this packet only
  }
  apply(context, packet, hit, admission.block);
  return std::nullopt;
}

// Decides against one snapshot. Starts over if the packet lost a race for its key or its connection was removed. If the
// snapshot has changed, the result may be neither a drop reason nor a decision.
std::optional<DropReason> decide_once(PathContext& context, Packet& packet, const PrefetchState* prefetched,
                                      FlowEventContext& event_context) noexcept {
  constexpr unsigned kRounds = 3;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::optional<DropReason> drop;
    Admission admission(packet, prefetched);
    const bool opens = !packet.icmp_error && (!packet.hit || packet.hit.block == nullptr || packet.reopens);
    if (packet.hit && !packet.reopens) {
      bool removed = false;
      drop = revalidate(context, admission, removed);
      if (removed) {
        packet.hit = Hit{};
        continue;
      }
    } else {
      drop = admit_new(context, admission);
    }
    event_context.record(admission);
    event_context.first |= opens && packet.block != nullptr;
    if (drop || packet.block != nullptr || snapshot_changed(context)) {
      return drop;
    }
  }
  return DropReason::kTableFull;
}

// The prefetched state of the packet, or nullptr. States are in packet order; `next` is the index of the next one.
const PrefetchState* next_prefetched(const PathContext& context, const Packet& packet, unsigned& next) noexcept {
  const bool found = next < context.prefetched_count && context.prefetched[next].packet == &packet;
  return found ? &context.prefetched[next++] : nullptr;
}

}  // namespace

void admit(PathContext& context, Burst& burst) noexcept {
  if (burst.undecided == 0) {
    return;
  }
  context.prefetched_count = 0;
  context.inserted.clear();
  if (burst.undecided > 1) {
    prefetch_admissions(context, burst);
  }
  unsigned next = 0;
  for (Packet& packet : burst) {
    if (!packet.alive() || packet.block != nullptr) {
      continue;
    }
    const PrefetchState* prefetched = next_prefetched(context, packet, next);
    // An earlier packet of this burst may have opened its connection.
    if (prefetched != nullptr && !packet.hit && context.inserted.may_contain(packet.hash)) {
      packet.hit = context.shared.flows->find(context.worker, packet.key);
    }
    std::optional<DropReason> drop;
    FlowEventContext event_context;
    for (unsigned tries = 0; tries < kSnapshotRetries; ++tries) {
      context.snapshot = context.shared.snapshot.load(std::memory_order_acquire);
      drop = decide_once(context, packet, prefetched, event_context);
      if (packet.block != nullptr || !snapshot_changed(context)) {
        break;
      }
      drop = drop.value_or(DropReason::kTableFull);
    }
    if (drop) {
      if (*drop == DropReason::kNoLiveBackend) {
        send_icmp_error(context, packet, IcmpError::kPortUnreachable);
      }
      packet.drop(*drop);
      report_admission_drop(context, burst, packet, event_context);
    } else {
      report_admitted(context, packet, event_context);
    }
  }
}

}  // namespace isthmus
