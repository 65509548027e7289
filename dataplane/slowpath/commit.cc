#include "dataplane/slowpath/commit.h"

#include <algorithm>
#include <array>
#include <optional>

#include "dataplane/conntrack/source_ports.h"
#include "dataplane/packet/echo.h"
#include "dataplane/slowpath/openings.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// Gives the packet its decision. If the table has no block for it, a scratch block serves for this packet only.
void apply(SlowContext& context, Packet& packet, DirectionLine* line, const DirectionBlock* stored,
           const DirectionBlock& block) noexcept {
  packet.line = line;
  packet.block = stored;
  if (stored == nullptr) {
    DirectionBlock& scratch = context.scratch[context.scratch_used++ % context.scratch.size()];
    scratch = block;
    packet.block = &scratch;
  }
}

void count_audited(SlowContext& context, const Decision& decision) noexcept {
  for (const PolicyVerdict& verdict : {decision.egress_policy, decision.ingress_policy}) {
    if (verdict.outcome == PolicyOutcome::kAudited) {
      context.counters.policy_audited.add();
    }
  }
}

// Existing connections ------------------------------------------------------------------------------------------------

// Marks in the connection that its source is a published endpoint, so that the connection ends when the endpoint does.
void record_source(const Decision& decision, ConnectionShared& shared) noexcept {
  const std::uint32_t flag = published_flag(decision.direction);
  if (decision.source.published && (shared.user_flags() & flag) == 0) {
    shared.set_user_flags(flag);
  }
}

// The tunnel end that the connection keeps: by its forward direction, but where replies had to go elsewhere.
IpAddress kept_peer(const SlowContext& context, const Packet& packet, const Decision& decision) noexcept {
  const bool from = packet.origin.side() == Side::kFabric && decision.direction == Direction::kForward;
  return (*context.snapshot->peers)[from ? packet.origin.peer() : decision.egress.peer].underlay;
}

// ConnectionShared::exit of a connection whose forward direction comes from the fabric.
std::uint32_t exit_to(const SlowContext& context, const Decision& decision) noexcept {
  const PeerId peer = decision.egress.peer;
  return peer == kNoPeer ? 0 : exit_of((*context.snapshot->peers)[peer].underlay);
}

// Where the forward direction comes from another peer than before, replies go there too. Replies whose peer has gone go
// to another one until the next packet of the forward direction, which is therefore decided again, shows where that is.
void follow_peer(SlowContext& context, const Packet& packet, const Decision& decision, const Hit& hit) noexcept {
  const bool forward = hit.direction == Direction::kForward;
  const bool from_fabric = hit.shared().from == Side::kFabric;
  if (decision.dsr) {  // each direction goes by itself
    return;
  }
  if (!forward && (!from_fabric || decision.egress.peer == kNoPeer)) {
    return;
  }
  if (forward && from_fabric) {
    if (const std::uint32_t exit = exit_to(context, decision);
        exit != hit.shared().exit.load(std::memory_order_relaxed)) {
      hit.shared().exit.store(exit, std::memory_order_relaxed);
    }
  }
  const IpAddress peer = kept_peer(context, packet, decision);
  const bool moves = hit.shared().peer.load() != peer;
  const bool returned =
      forward && from_fabric && !is_usable(*context.snapshot, decision.source.cluster, packet.origin.peer());
  const bool was_returned = (hit.shared().user_flags() & kReturnedFlag) != 0;
  if (moves) {
    hit.shared().peer.store(peer);
  }
  if (returned && !was_returned) {
    hit.shared().set_user_flags(kReturnedFlag);
  } else if (was_returned && (moves || forward) && !returned) {
    hit.shared().clear_user_flags(kReturnedFlag);
  }
  // Where answers do not come by us, the forward block alone says which backend it is.
  const bool keeps = !forward && hit.shared().direct_return;
  if (!keeps && (moves || (returned && !was_returned))) {
    context.shared.flows->forget(context.worker, hit.connection->line(opposite(hit.direction)));
  }
}

CommitResult commit_existing(SlowContext& context, Packet& packet, Decision& decision, Hit& hit) noexcept {
  AdjacencyId made;
  if (decision.egress.on_link && !find_neighbour(context, packet, decision.block, made)) {
    return {Committed::kRefused, DropReason::kNeighbourUnresolved};
  }
  if (packet.icmp_error) {  // its origin says nothing about that of the connection's packets
    apply(context, packet, nullptr, nullptr, decision.block);
    tell_icmp_error(context, packet, hit);
  } else {
    const RevalidateOutcome outcome = context.shared.flows->revalidate(context.worker, hit, decision.block);
    if (outcome == RevalidateOutcome::kRemoved) {
      hit = Hit{};
      return {Committed::kAgain, {}};
    }
    record_source(decision, hit.shared());
    follow_peer(context, packet, decision, hit);
    if (hit.direction == Direction::kForward && tcp_flag::is_opening(packet.tcp_flags)) {
      tell_asked_again(context, hit);
    }
    const bool published = outcome == RevalidateOutcome::kPublished;  // else use our own decision, for this packet only
    apply(context, packet, &hit.line(), published ? hit.block : nullptr, decision.block);
  }
  context.counters.revalidations.add();
  count_audited(context, decision);
  return {};
}

// New connections -----------------------------------------------------------------------------------------------------

// The connection that the packet opens. Of one whose first packet that we see is an answer, nothing is known of the
// other direction but where its packets should come from.
void describe(const SlowContext& context, const Packet& packet, const Decision& decision,
              NewConnection& connection) noexcept {
  const bool answers = decision.answers();
  const Direction own = answers ? Direction::kReply : Direction::kForward;
  const FlowTable& flows = *context.shared.flows;
  connection.first = own;
  if (answers) {
    connection.forward = decision.new_forward;
    connection.forward_hash = flows.hash(decision.new_forward);
    connection.reply = packet.key;
    connection.reply_hash = packet.hash;
    connection.forward_block = nullptr;
    connection.reply_block = &decision.block;
    connection.source_identity = decision.destination.identity;
    connection.from = decision.block.to();
    connection.to = packet.origin.side();
  } else {
    connection.forward = packet.key;
    connection.forward_hash = packet.hash;
    connection.reply = decision.direct_return ? packet.key.reversed() : decision.new_reply;
    const bool hashed = decision.reply_hash != 0 && !decision.direct_return;
    connection.reply_hash = hashed ? decision.reply_hash : flows.hash(connection.reply);
    connection.forward_block = &decision.block;
    connection.reply_block = decision.reply_known ? &decision.reply_block : nullptr;
    connection.source_identity = decision.source_identity;
    connection.from = packet.origin.side();
    connection.to = decision.block.to();
  }
  connection.taken = {};
  connection.holder = {};
  connection.marks = answers ? std::uint8_t{0} : first_marks(packet.key.protocol, packet.tcp_flags);
  connection.watched = connection.marks != 0 && decision.frontend != nullptr && decision.frontend->watched &&
                       decision.source.cluster == context.shared.options.cluster && !decision.direct_return;
  connection.user_flags = (decision.source.published ? published_flag(own) : 0) |
                          (decision.destination.published ? published_flag(opposite(own)) : 0);
  connection.user_flags |= decision.dsr ? kDsrFlag : 0;
  connection.peer = kept_peer(context, packet, decision);
  const bool enters = packet.origin.side() == Side::kFabric && !answers;
  connection.exit = enters ? exit_to(context, decision) : 0;
  connection.vouched = decision.dsr;
  connection.direct_return = decision.direct_return;
  const ClusterId opener =
      decision.dsr ? (*context.snapshot->peers)[packet.origin.peer()].cluster : decision.source.cluster;
  connection.cluster = enters && opener != context.shared.options.cluster ? opener : kNoCluster;
  if (enters && !decision.dsr && !is_usable(*context.snapshot, decision.source.cluster, packet.origin.peer())) {
    connection.user_flags |= kReturnedFlag;
  }
}

PortRange port_range(const SlowContext& context, const FlowKey& key) noexcept {
  if (key.protocol == IpProtocol::kIcmp || key.protocol == IpProtocol::kIcmpv6) {
    return kEchoIdentifiers;
  }
  return {context.shared.options.translation_first, context.shared.options.translation_last};
}

// Tries source ports until one gives a free reply key: SourcePorts::kTries and the packet's own. Where none is free, a
// connection of somebody who has many gives way. The identifier of an echo reply is not ours to choose.
InsertResult insert_with_port(SlowContext& context, const Packet& packet, Decision& decision,
                              NewConnection& connection) noexcept {
  const FlowKey& key = packet.key;
  const bool echo = key.protocol == IpProtocol::kIcmp || key.protocol == IpProtocol::kIcmpv6;
  InsertResult result{InsertOutcome::kReplyTaken, {}};
  if (echo && !is_echo_request(key.source_port, key.destination_port)) {
    return result;
  }
  const std::uint64_t random = std::uint64_t{context.next_random()} << 32 | context.next_random();
  SourcePorts ports(port_range(context, key), L4Port{key.source_port.host()}, random);
  FlowTable& flows = *context.shared.flows;
  std::optional<L4Port> yielding;  // of whoever has most connections
  std::uint32_t most = 0;
  bool displaces = false;
  while (result.outcome == InsertOutcome::kReplyTaken && !displaces) {
    std::optional<L4Port> port = ports.next();
    if (!port) {
      port = yielding;
      displaces = true;
      if (!port) {
        break;
      }
    }
    decision.new_reply.destination_port = Be16::of(port->value());
    if (echo) {
      decision.new_reply.source_port = echo_ports(Be16::of(port->value()), true).destination;
    }
    decision.reply_hash = flows.hash(decision.new_reply);
    describe(context, packet, decision, connection);
    const Hit taken = flows.find(context.worker, decision.new_reply, decision.reply_hash, context.now);
    if (taken && !displaces) {
      const std::uint32_t number = decision.dsr ? 0 : flows.yields(taken, connection);
      yielding = number > most ? port : yielding;
      most = std::max(most, number);
      continue;
    }
    if (taken && !flows.displace(context.worker, taken, connection)) {
      break;  // it has been opened meanwhile
    }
    rebuild_for_port(decision);
    result = flows.insert(context.worker, connection, context.now);
  }
  return result;
}

// One key of a connection that starts with an answer is another's: the packet's own, or it answers nothing.
CommitResult answer_taken(SlowContext& context, const Packet& packet, Hit& hit) noexcept {
  hit = context.shared.flows->find_locked(context.worker, packet.key, packet.hash);
  return hit ? CommitResult{Committed::kAgain, {}} : CommitResult{Committed::kRefused, DropReason::kMidstream};
}

// What comes of the insertion of context.opening. `made`: next hops made for it, which are given back if there is none.
CommitResult finish(SlowContext& context, Packet& packet, const InsertResult& result, std::span<const AdjacencyId> made,
                    const DirectionBlock& block, bool answers, Hit& hit) noexcept {
  if (result.outcome != InsertOutcome::kInserted) {
    for (const AdjacencyId id : made) {
      context.shared.adjacencies.give_back(id);
    }
  }
  switch (result.outcome) {
    case InsertOutcome::kInserted:
      break;
    case InsertOutcome::kExists:
      if (answers) {
        return answer_taken(context, packet, hit);
      }
      hit = result.hit;
      return {Committed::kAgain, {}};
    case InsertOutcome::kReplyTaken:
      return answers ? answer_taken(context, packet, hit) : CommitResult{Committed::kReplyTaken, {}};
    case InsertOutcome::kFull:
      return {Committed::kRefused, DropReason::kTableFull};
    case InsertOutcome::kHalfOpenLimit:
      return {Committed::kRefused, DropReason::kHalfOpenLimit};
  }
  context.inserted.add(context.opening.forward_hash);
  context.inserted.add(context.opening.reply_hash);
  apply(context, packet, &result.hit.line(), result.hit.block, block);
  return {};
}

CommitResult commit_new(SlowContext& context, Packet& packet, Decision& decision, bool other_port, Hit& hit) noexcept {
  std::array<AdjacencyId, 2> made;
  const bool leaves = decision.source.cluster == context.shared.options.cluster;
  if (packet.icmp_error &&
      !context.stray_limits.take(packet, leaves ? decision.destination.cluster : decision.source.cluster,
                                 context.now_ns)) {
    return {Committed::kRefused, DropReason::kIcmpLimited};
  }
  if (decision.egress.on_link && !find_neighbour(context, packet, decision.block, made[0])) {
    return {Committed::kRefused, DropReason::kNeighbourUnresolved};
  }
  decision.reply_known = decision.reply_known && (!decision.reply_egress.on_link ||
                                                  find_neighbour(context, packet, decision.reply_block, made[1]));
  if (decision.dsr && !decision.reply_known) {
    context.shared.adjacencies.give_back(made[0]);
    return {Committed::kRefused, DropReason::kNeighbourUnresolved};
  }
  if (decision.passes) {
    apply(context, packet, nullptr, nullptr, decision.block);
    packet.stray = packet.icmp_error;
    count_audited(context, decision);
    return {};
  }
  if (hit) {  // a closing connection, or one whose backend does not stand: its keys are free now
    context.shared.flows->remove(context.worker, hit);
    hit = Hit{};
  }
  NewConnection& connection = context.opening;
  InsertResult result;
  if (other_port || decision.translated) {
    result = insert_with_port(context, packet, decision, connection);
  } else {
    describe(context, packet, decision, connection);
    result = context.shared.flows->insert(context.worker, connection, context.now);
  }
  const CommitResult committed = finish(context, packet, result, made, decision.block, decision.answers(), hit);
  if (committed.outcome == Committed::kDone) {
    count_audited(context, decision);
  }
  return committed;
}

// Of a service with session affinity: the client has got this backend.
void pin_backend(SlowContext& context, const Packet& packet, const Decision& decision) noexcept {
  FlowTable& flows = *context.shared.flows;
  const BackendEntry& backend = *decision.backend;
  flows.affinities().pin(decision.frontend->key, packet.key.source(), {backend.address, backend.port}, context.now);
  flows.hit(packet.line).shared().set_pin();
}

}  // namespace

bool find_neighbour(SlowContext& context, const Packet& packet, DirectionBlock& block, AdjacencyId& made) noexcept {
  bool created = false;
  block.adjacency = on_link_next_hop(context, block.device, block.destination(packet.family), packet, created);
  made = created ? block.adjacency : kNoAdjacency;
  return block.adjacency != kNoAdjacency;
}

CommitResult insert_opening(SlowContext& context, Packet& packet, std::span<const AdjacencyId> made,
                            Hit& hit) noexcept {
  const NewConnection& connection = context.opening;
  const InsertResult result = context.shared.flows->insert(context.worker, connection, context.now);
  return finish(context, packet, result, made, *connection.forward_block, false, hit);
}

CommitResult commit(SlowContext& context, Packet& packet, Decision& decision, bool other_port, Hit& hit) noexcept {
  if (!decision.opens) {
    return commit_existing(context, packet, decision, hit);
  }
  const CommitResult result = commit_new(context, packet, decision, other_port, hit);
  if (result.outcome == Committed::kDone && !decision.passes && decision.backend != nullptr &&
      decision.frontend->client_affinity) {
    pin_backend(context, packet, decision);
  }
  return result;
}

}  // namespace isthmus
