// admit: decides for packets without a standing decision, and publishes what it decided.
//
// Order against publishers: they make new data visible, then move epoch words. Here words are sampled, then tables are
// read; the snapshot itself was loaded before, so its pointer is compared before a decision is handed to the table. If
// it moved meanwhile, a word may already carry the new value while the data was old: the decision is made again.
#include <optional>

#include "dataplane/flow/source_ports.h"
#include "dataplane/path/admission.h"
#include "dataplane/path/output.h"
#include "dataplane/path/path.h"
#include "dataplane/path/report.h"

namespace isthmus {
namespace {

constexpr unsigned kSnapshotRetries = 4;
constexpr unsigned kBackendTries = 4;

bool snapshot_moved(const PathContext& context) noexcept {
  return context.shared.snapshot.load(std::memory_order_acquire) != context.snapshot;
}

// Steps shared by new and existing connections, once the keys are known.
Refusal decide(PathContext& context, Admission& admission) noexcept {
  if (const auto refusal = policy(context, admission)) {
    return refusal;
  }
  return route(context, admission);
}

// The packet goes on under this decision even where the table could not take it.
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

// The connection keeps whether its sources are endpoints, so that it ends when they do.
void note_source(const Admission& admission, const Hit& hit) noexcept {
  std::atomic<std::uint32_t>& flags = hit.shared().user_flags;
  const std::uint32_t flag = known_flag(admission.direction);
  if (admission.source_known && (flags.load(std::memory_order_relaxed) & flag) == 0) {
    flags.fetch_or(flag, std::memory_order_relaxed);
  }
}

// One try at inserting with the reply key that `admission` carries. kExists also stands for a snapshot that has moved:
// the caller looks at the packet afresh.
InsertOutcome try_insert(PathContext& context, Admission& admission, Packet& packet) noexcept {
  finish_rewrite(admission);
  if (snapshot_moved(context)) {
    return InsertOutcome::kExists;
  }
  FlowTable& flows = *context.shared.flows;
  NewConnection wanted;
  wanted.forward = admission.forward;
  wanted.reply = admission.reply;
  const Foreseen* known = admission.foreseen != nullptr && !admission.foreseen->hit ? admission.foreseen : nullptr;
  wanted.forward_hash = packet.hash;
  wanted.reply_hash = known != nullptr && known->reply == wanted.reply ? known->reply_hash : flows.hash(wanted.reply);
  wanted.user_flags = admission.source_known ? known_flag(admission.direction) : 0;
  wanted.forward_block = &admission.block;
  if (admission.frontend != nullptr) {
    wanted.service = admission.frontend->service;
    wanted.backend = admission.backend->id;
    wanted.backend_cluster = admission.backend->cluster;
  }
  wanted.forward_peer = packet.peer;
  wanted.source_identity = admission.source_identity;
  wanted.from = packet.side;
  wanted.to = admission.block.to;
  const InsertResult result = flows.insert(context.worker, wanted, context.now);
  if (result.outcome == InsertOutcome::kInserted) {
    context.made.add(wanted.forward_hash);
    context.made.add(wanted.reply_hash);
    apply(context, packet, result.hit, admission.block);
  } else if (result.outcome == InsertOutcome::kExists) {
    packet.hit = result.hit;  // adopted: the winner's decision is looked at like any hit
  }
  return result.outcome;
}

Refusal refusal_of(InsertOutcome outcome) noexcept {
  switch (outcome) {
    case InsertOutcome::kFull:
      return DropReason::k_table_full;
    case InsertOutcome::kQuota:
      return DropReason::k_unreplied_quota;
    case InsertOutcome::kReplyTaken:
      return DropReason::k_translation_exhausted;
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

// Tries source ports for the backend that `admission` holds until the reply key is free.
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

// A reply bypasses us unless exactly one of the two ends is ours: then the source is translated too.
Refusal set_reply_address(const PathContext& context, Admission& admission) noexcept {
  const ClusterId own = context.shared.options.cluster;
  admission.reply.destination = admission.forward.source;
  if ((admission.source_cluster == own) != (admission.backend->cluster == own)) {
    return std::nullopt;
  }
  const auto& address = admission.packet.family == Family::kIpv4 ? context.shared.options.translation_ipv4
                                                                 : context.shared.options.translation_ipv6;
  if (!address) {
    return DropReason::k_no_translation_address;
  }
  admission.reply.destination = *address;
  return std::nullopt;
}

// Points the reply key and the route at one backend.
Refusal take_backend(PathContext& context, Admission& admission, const BackendEntry& backend) noexcept {
  admission.backend = &backend;
  admission.destination_cluster = backend.cluster;
  admission.reply.source = backend.address;
  admission.reply.source_port = Be16::of(backend.port.value());
  admission.reply.destination_port = admission.forward.source_port;
  if (const auto refusal = set_reply_address(context, admission)) {
    return refusal;
  }
  return decide(context, admission);
}

// A new connection to a VIP: the ring's backend; if its reply key is taken, the next one's; then other source ports.
Refusal insert_service(PathContext& context, Admission& admission, Packet& packet) noexcept {
  BackendWalk walk = walk_backends(context, admission);
  const BackendEntry* first = nullptr;
  Refusal last = DropReason::k_no_backend;
  for (unsigned tries = 0; tries < kBackendTries; ++tries) {
    const BackendEntry* backend = walk.next();
    if (backend == nullptr) {
      break;
    }
    last = take_backend(context, admission, *backend);
    if (last == DropReason::k_policy_denied || last == DropReason::k_policy_deny) {
      return last;  // the ring's choice is the client's backend: policy chooses no other
    }
    if (last) {
      continue;  // another backend may still be reachable
    }
    if (first == nullptr) {
      first = backend;
    }
    const bool translated = admission.reply.destination != admission.forward.source;
    const InsertOutcome outcome =
        translated ? insert_with_port(context, admission, packet) : try_insert(context, admission, packet);
    if (outcome != InsertOutcome::kReplyTaken) {
      return refusal_of(outcome);
    }
  }
  if (first == nullptr) {
    return last;
  }
  if (const auto refusal = take_backend(context, admission, *first)) {
    return refusal;
  }
  return refusal_of(insert_with_port(context, admission, packet));
}

// A new connection to an address.
Refusal insert_direct(PathContext& context, Admission& admission, Packet& packet) noexcept {
  const auto& options = context.shared.options;
  admission.reply = admission.forward.reversed();
  const IpAddress& target = admission.forward.destination;
  if (target == options.translation_ipv4 || target == options.translation_ipv6) {
    return DropReason::k_no_mapping;
  }
  admission.destination_cluster = context.snapshot->clusters->cluster_of(admission.forward.realm, target);
  if (admission.destination_cluster == kNoCluster) {
    return DropReason::k_no_route;
  }
  if (const auto refusal = decide(context, admission)) {
    return refusal;
  }
  const InsertOutcome outcome = try_insert(context, admission, packet);
  return refusal_of(outcome == InsertOutcome::kReplyTaken ? insert_with_port(context, admission, packet) : outcome);
}

Refusal admit_new(PathContext& context, Admission& admission) noexcept {
  Packet& packet = admission.packet;
  context.shared.flows->epochs().sample_none(admission.block);
  admission.forward = packet.key;
  admission.reply = packet.key.reversed();
  if (packet.icmp_error) {
    return DropReason::k_unsupported_icmp;
  }
  if (const auto refusal = vet(context, admission)) {
    return refusal;
  }
  constexpr std::uint8_t kSynAck = net::Tcp::kSyn | net::Tcp::kAck;
  if (packet.key.protocol == IpProtocol::kTcp && (packet.tcp_flags & kSynAck) != net::Tcp::kSyn &&
      context.shared.options.midstream == MidstreamPolicy::kDrop) {
    return DropReason::k_midstream;
  }
  const ServiceResult found = service(context, admission);
  if (found.refusal) {
    return found.refusal;
  }
  return admission.frontend != nullptr ? insert_service(context, admission, packet)
                                       : insert_direct(context, admission, packet);
}

// Decides again for the direction that packet.hit names. `gone` tells that there is no connection any more.
Refusal admit_again(PathContext& context, Admission& admission, bool& gone) noexcept {
  Packet& packet = admission.packet;
  context.shared.flows->epochs().sample_none(admission.block);
  admission.existing = true;
  admission.direction = packet.hit.direction;
  admission.forward = packet.hit.connection->line(Direction::kForward).key;
  admission.reply = packet.hit.connection->line(Direction::kReply).key;
  if (const auto refusal = vet(context, admission)) {
    return refusal;
  }
  const ServiceResult kept = service(context, admission);
  if (kept.refusal) {
    return kept.refusal;
  }
  if (kept.outcome == ServiceOutcome::kChooseAgain) {
    context.shared.flows->remove(context.worker, packet.hit);
    gone = true;
    return std::nullopt;
  }
  admission.destination_cluster = context.snapshot->clusters->cluster_of(admission.own().realm, admission.target());
  if (admission.destination_cluster == kNoCluster) {
    return DropReason::k_no_route;
  }
  if (const auto refusal = decide(context, admission)) {
    return refusal;
  }
  if (snapshot_moved(context)) {
    return std::nullopt;
  }
  finish_rewrite(admission);
  context.counters.readmissions.add();
  if (packet.icmp_error) {  // says nothing about where the connection's own packets come from
    apply(context, packet, Hit{}, admission.block);
    return std::nullopt;
  }
  note_source(admission, packet.hit);
  if (admission.direction == Direction::kForward) {
    packet.hit.shared().forward_peer.store(packet.peer.value(), std::memory_order_relaxed);
  }
  const ReadmitOutcome outcome = context.shared.flows->readmit(context.worker, packet.hit, admission.block);
  if (outcome == ReadmitOutcome::kGone) {
    gone = true;
    return std::nullopt;
  }
  Hit hit = packet.hit;
  if (outcome != ReadmitOutcome::kPublished) {
    hit.block = nullptr;  // ours, for this packet
  }
  apply(context, packet, hit, admission.block);
  return std::nullopt;
}

// One decision against one snapshot. A packet that lost a race, or whose connection went away, is looked at afresh;
// when the snapshot has moved there may be neither a refusal nor a decision.
Refusal decide_once(PathContext& context, Packet& packet, const Foreseen* foreseen, AdmissionNote& note) noexcept {
  constexpr unsigned kRounds = 3;
  for (unsigned round = 0; round < kRounds; ++round) {
    Refusal refusal;
    Admission admission(packet, foreseen);
    const bool opens = !packet.icmp_error && (!packet.hit || packet.hit.block == nullptr);
    if (packet.hit) {
      bool gone = false;
      refusal = admit_again(context, admission, gone);
      if (gone) {
        packet.hit = Hit{};
        continue;
      }
    } else {
      refusal = admit_new(context, admission);
    }
    note.take(admission);
    note.first |= opens && packet.block != nullptr;
    if (refusal || packet.block != nullptr || snapshot_moved(context)) {
      return refusal;
    }
  }
  return DropReason::k_table_full;
}

// What prefetching has left of the packet; `next` walks through it as the packets come.
const Foreseen* next_foreseen(const PathContext& context, const Packet& packet, unsigned& next) noexcept {
  const bool there = next < context.foreseen_count && context.foreseen[next].packet == &packet;
  return there ? &context.foreseen[next++] : nullptr;
}

}  // namespace

void admit(PathContext& context, Burst& burst) noexcept {
  if (burst.undecided == 0) {
    return;
  }
  context.foreseen_count = 0;
  context.made.clear();
  if (burst.undecided > 1) {
    prefetch_admissions(context, burst);
  }
  unsigned next = 0;
  for (Packet& packet : burst) {
    if (!packet.alive() || packet.block != nullptr) {
      continue;
    }
    const Foreseen* foreseen = next_foreseen(context, packet, next);
    // An earlier packet of this burst may have made its connection.
    if (foreseen != nullptr && !packet.hit && context.made.may_have(packet.hash)) {
      packet.hit = context.shared.flows->find(context.worker, packet.key);
    }
    Refusal refusal;
    AdmissionNote note;
    for (unsigned tries = 0; tries < kSnapshotRetries; ++tries) {
      context.snapshot = context.shared.snapshot.load(std::memory_order_acquire);
      refusal = decide_once(context, packet, foreseen, note);
      if (packet.block != nullptr || !snapshot_moved(context)) {
        break;
      }
      refusal = refusal.value_or(DropReason::k_table_full);
    }
    if (refusal) {
      if (*refusal == DropReason::k_no_backend) {
        send_icmp_error(context, packet, IcmpError::kPortUnreachable);
      }
      packet.drop(*refusal);
      report_refused(context, burst, packet, note);
    } else {
      report_admitted(context, packet, note);
    }
  }
}

}  // namespace isthmus
