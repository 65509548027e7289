#include "dataplane/slowpath/decision.h"

#include <utility>

#include "dataplane/net/headers.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

constexpr unsigned kBackendTries = 4;

// Whether no gateway but us need be between the two ends, in our cluster or in one with native routing: then replies
// would bypass us unless the source is translated.
bool may_bypass(const DecisionInput& in, const Decision& decision, const IpAddress& backend) noexcept {
  const auto near = [&](const End& end, const IpAddress& address) noexcept {
    return end.cluster == in.tables.options.cluster || is_native(in, address);
  };
  return near(decision.source, decision.forward->source()) && near(decision.destination, backend);
}

// Our own addresses are not to be seen outside, nor aliases inside, where our cluster's nodes send in tunnels, too; and
// what a connection replaces them by is what it was opened with, so that it ends where aliases have changed.
Refusal check_aliases(const DecisionInput& in, const Decision& decision) noexcept {
  const AliasTable& aliases = in.snapshot.aliases;
  const FlowKey& key = in.facts.key;
  if (in.snapshot.is_outside(in.facts.origin, in.tables.options.cluster) ? aliases.is_own(key.destination())
                                                                         : aliases.is_alias(key.source())) {
    return DropReason::kAliasMismatch;
  }
  if (decision.opens) {
    return std::nullopt;
  }
  const IpAddress client = decision.reply->destination();
  const auto& options = in.tables.options;
  const bool translated = client == options.translation_ipv4 || client == options.translation_ipv6;
  const bool stands = translated || client == aliases.to_alias(decision.forward->source());
  return stands ? std::nullopt : Refusal{DropReason::kAliasMismatch};
}

Refusal decide_backend(const DecisionInput& in, Decision& decision, const BackendEntry& backend) noexcept {
  decision.backend = &backend;
  decision.new_reply = decision.forward->reversed();
  decision.new_reply.set_source(backend.address);
  decision.new_reply.source_port = Be16::of(backend.port.value());
  const Hints* hints = in.facts.hints;
  const bool hinted = hints != nullptr && hints->backend == &backend && hints->snapshot == &in.snapshot;
  look_up(in, decision, backend.address,
          hinted ? hints->target_hash : address_hash(in.facts.key.realm, backend.address), decision.destination);
  // Outside its cluster's prefixes, its replies are refused as those of any other source there.
  const bool within = decision.destination.cluster == backend.cluster;
  decision.destination.cluster = backend.cluster;
  decision.direct_return = may_return_directly(in, decision, backend.address);
  decision.reply_known = within && !decision.direct_return;
  decision.translated = !decision.direct_return && may_bypass(in, decision, backend.address);
  set_reply_alias(in, decision);
  decision.reply_hash = hinted && !decision.translated && in.snapshot.aliases.empty() ? hints->reply_hash : 0;
  if (decision.translated) {
    const auto& options = in.tables.options;
    const auto& address =
        decision.forward->family == Family::kIpv4 ? options.translation_ipv4 : options.translation_ipv6;
    if (!address) {
      return DropReason::kNoTranslationAddress;
    }
    decision.new_reply.set_destination(*address);
  }
  return decide_target(in, decision);
}

// To an address that is not a VIP.
Refusal decide_direct(const DecisionInput& in, Decision& decision) noexcept {
  decision.new_reply = decision.forward->reversed();
  set_reply_alias(in, decision);
  const Hints* hints = in.facts.hints;
  const bool hinted = hints != nullptr && hints->frontend == nullptr && in.facts.connection == nullptr;
  decision.reply_hash = hinted && in.snapshot.aliases.empty() ? hints->reply_hash : 0;
  decision.reply_known = true;
  if (const Refusal refusal = decide_target(in, decision)) {
    return refusal;
  }
  if (!decision.dsr) [[likely]] {
    return std::nullopt;
  }
  const Refusal refusal = route_dsr_reply(in, decision);
  return refusal ? refusal : check_dsr(in, decision);
}

// RFC 5508 section 4: an error must come from the cluster that the quoted packet was sent to.
Refusal check_reporter(const DecisionInput& in, const Decision& decision) noexcept {
  const PacketFacts& facts = in.facts;
  if (!facts.icmp_error || in.snapshot.clusters->cluster_of(facts.key.realm, fleet_form(in.snapshot, facts.reporter)) ==
                               decision.source.cluster) {
    return std::nullopt;
  }
  return facts.origin.side() == Side::kFabric ? DropReason::kSourceOutsideCluster : DropReason::kForeignSource;
}

// What a backend of a service sends, but to a VIP, is the answer to a connection that we do not know. From another
// cluster it may have to be translated by the gateway that knows it. One of our own cluster answers past the gateway
// that its client's packets come through: nothing is to be translated, and the connection is the client's.
Refusal take_as_answer(const DecisionInput& in, Decision& decision) noexcept {
  if (decision.source.cluster != in.tables.options.cluster) {
    return DropReason::kMidstream;
  }
  const FlowKey& key = in.facts.key;
  const IpAddress client = key.destination();
  look_up(in, decision, client, address_hash(key.realm, client), decision.destination);
  if (decision.destination.cluster == in.tables.options.cluster || is_native(in, client)) {
    return DropReason::kMidstream;
  }
  decision.direction = Direction::kReply;
  decision.new_forward = key.reversed();
  decision.new_forward.set_destination(fleet_form(in.snapshot, key.source()));
  decision.forward = &decision.new_forward;
  decision.reply = &in.facts.key;
  return std::nullopt;
}

bool is_backend(const DecisionInput& in, const IpAddress& address, Be16 port) noexcept {
  return in.snapshot.is_backend({in.facts.key.realm, address, in.facts.key.protocol, L4Port{port.host()}});
}

// A reset opens nothing. What our own cluster sends to another ends a connection whose other packets take another
// gateway, and passes by the policy for that.
Refusal check_reset(const DecisionInput& in, Decision& decision, bool backend) noexcept {
  const IpAddress target = in.facts.key.destination();
  const ClusterId own = in.tables.options.cluster;
  if (decision.source.cluster != own || is_vip(in, target) ||
      in.snapshot.clusters->cluster_of(in.facts.key.realm, fleet_form(in.snapshot, target)) == own) {
    return DropReason::kMidstream;
  }
  decision.passes = true;
  return backend ? take_as_answer(in, decision) : std::nullopt;
}

// What cannot be the first packet that we see of a connection. Nothing is opened to our translation address.
Refusal check_opening(const DecisionInput& in, Decision& decision) noexcept {
  const FlowKey& key = in.facts.key;
  const auto& options = in.tables.options;
  const IpAddress target = key.destination();
  if (target == options.translation_ipv4 || target == options.translation_ipv6) {
    return DropReason::kNoMapping;
  }
  const bool tcp = key.protocol == IpProtocol::kTcp;
  const std::uint8_t flags = in.facts.tcp_flags;
  if (tcp && tcp_flag::is_opening(flags)) {
    return std::nullopt;
  }
  if (tcp && (options.midstream == MidstreamPolicy::kDrop ||
              ((flags & tcp_flag::kSyn) != 0 && (flags & (tcp_flag::kFin | tcp_flag::kRst)) != 0))) {
    return DropReason::kMidstream;
  }
  const bool backend = is_backend(in, key.source(), key.source_port);
  if (tcp && (flags & tcp_flag::kRst) != 0) {
    return check_reset(in, decision, backend);
  }
  if (backend && !tcp && is_backend(in, target, key.destination_port)) {  // members of one service among themselves
    return std::nullopt;
  }
  return backend && !is_vip(in, target) ? take_as_answer(in, decision) : std::nullopt;
}

// What replies would have to say they are from is lost.
bool forgot_service(const PacketFacts& facts, const Decision& decision) noexcept {
  return decision.dsr && decision.direction == Direction::kReply && facts.current == nullptr;
}

// What a backend's node sends in the VIP's name, where the client's address leads to us. Policy is asked for the
// backend to which the forward direction goes.
Refusal decide_direct_answer(const DecisionInput& in, Decision& decision) noexcept {
  if (const Refusal refusal = validate_direct_answer(in, decision)) {
    return refusal;
  }
  const DirectionBlock* forward = in.facts.forward_block;
  if (forward == nullptr) {
    return DropReason::kMidstream;
  }
  decision.new_reply = *decision.reply;
  decision.new_reply.set_source(forward->destination(in.facts.key.family));
  decision.new_reply.source_port = forward->destination_port;
  const Realm realm = in.facts.key.realm;
  const ClusterId cluster = decision.source.cluster;
  const IpAddress backend = decision.new_reply.source(), client = decision.forward->source();
  look_up(in, decision, backend, address_hash(realm, backend), decision.source);
  decision.source.cluster = cluster;
  look_up(in, decision, client, address_hash(realm, client), decision.destination);
  if (decision.destination.cluster != in.tables.options.cluster) {
    return DropReason::kNoRoute;
  }
  const FlowKey* const arrives = std::exchange(decision.reply, &decision.new_reply);
  const Refusal refusal = check_policy(in, decision);
  decision.reply = arrives;  // which is not translated
  return refusal ? refusal : route(in, decision);
}

// Where the backend's node is not such a one any more, the connection begins anew, but not by an error about it.
Refusal keep_direct_return(const DecisionInput& in, Decision& decision) noexcept {
  const IpAddress backend = decision.reply->source();
  find_end(in.snapshot, in.tables.endpoints, in.facts.key.realm, backend, address_hash(in.facts.key.realm, backend),
           decision.destination);
  if (may_return_directly(in, decision, backend)) {
    return std::nullopt;
  }
  decision.opens = !in.facts.icmp_error;
  decision.forward = &in.facts.key;
  return decision.opens ? std::nullopt : Refusal{DropReason::kUnsupportedIcmp};
}

Refusal run_steps(const DecisionInput& in, Decision& decision) noexcept {
  if (forgot_service(in.facts, decision)) [[unlikely]] {
    return DropReason::kDsrOption;
  }
  if (decision.direct_return && decision.direction == Direction::kReply) [[unlikely]] {
    return decide_direct_answer(in, decision);
  }
  if (in.facts.intrudes) [[unlikely]] {
    return in.facts.dsr ? DropReason::kDsrOption : DropReason::kSourceOutsideCluster;
  }
  if (in.facts.dsr && in.facts.icmp_error) [[unlikely]] {  // nobody has asked a service by an error
    return DropReason::kDsrOption;
  }
  const bool stray = decision.opens && in.facts.icmp_error;
  if (const Refusal refusal = stray ? check_quote(in) : std::nullopt) {
    return refusal;
  }
  if (const Refusal refusal = check_aliases(in, decision)) {
    return refusal;
  }
  if (const Refusal refusal = validate_source(in, decision)) {
    return refusal;
  }
  if (stray) {
    return decide_stray_error(in, decision);
  }
  if (const Refusal refusal = decision.opens ? check_opening(in, decision) : check_reporter(in, decision)) {
    return refusal;
  }
  if (decision.answers()) {
    return decide_target(in, decision);
  }
  if (const Refusal refusal = find_service(in, decision)) {
    return refusal;
  }
  if (decision.dsr && decision.frontend != nullptr) {  // it was to be balanced already
    return DropReason::kDsrOption;
  }
  if (decision.direct_return && !decision.opens) [[unlikely]] {
    if (const Refusal refusal = keep_direct_return(in, decision)) {
      return refusal;
    }
  }
  if (!decision.opens) {
    const IpAddress target = decision.target();
    const Hints* hints = decision.direct_return ? nullptr : in.facts.hints;
    look_up(in, decision, target, hints != nullptr ? hints->target_hash : address_hash(in.facts.key.realm, target),
            decision.destination);
    const Refusal refusal = decide_target(in, decision);
    return refusal || !decision.dsr ? refusal : check_dsr(in, decision);
  }
  decision.reply = &decision.new_reply;
  return decision.frontend != nullptr ? decide_service(in, decision) : decide_direct(in, decision);
}

// Of an existing connection, the backend stands in the decision that the forward direction has had so far; without one
// the connection begins anew.
void set_direct_return(const PacketFacts& facts, Decision& decision) noexcept {
  decision.direct_return = !decision.opens && facts.connection->shared.direct_return;
  if (!decision.direct_return || decision.direction == Direction::kReply) [[likely]] {
    return;
  }
  if (facts.current == nullptr) {
    decision.opens = true;
    decision.direct_return = false;
    decision.forward = &facts.key;
  } else {
    decision.new_reply = decision.forward->reversed();
    decision.new_reply.set_source(facts.current->destination(facts.key.family));
    decision.new_reply.source_port = facts.current->destination_port;
  }
  decision.reply = &decision.new_reply;
}

// Of an existing connection, the service stands in the decision that replies have had so far.
void set_dsr(const PacketFacts& facts, Decision& decision) noexcept {
  if (decision.opens) {
    decision.dsr = facts.dsr;
    decision.asked = facts.asked;
    return;
  }
  decision.dsr = (facts.connection->shared.user_flags() & kDsrFlag) != 0;
  if (decision.dsr && decision.direction == Direction::kReply && facts.current != nullptr) {
    decision.asked = {facts.current->source(facts.key.family), facts.current->source_port};
  }
}

}  // namespace

void begin(const DecisionInput& in, Decision& decision) noexcept {
  const PacketFacts& facts = in.facts;
  decision.refused = decision.echo = decision.reply_known = decision.translated = decision.passes = false;
  decision.standing = true;
  decision.opens = facts.connection == nullptr;
  decision.direction = decision.opens ? Direction::kForward : facts.direction;
  if (decision.opens) {
    decision.forward = &facts.key;
    decision.reply = &decision.new_reply;
  } else {
    decision.forward = &facts.connection->line(Direction::kForward).key;
    decision.reply = &facts.connection->line(Direction::kReply).key;
  }
  set_direct_return(facts, decision);
  set_dsr(facts, decision);
  decision.source.cluster = decision.destination.cluster = kNoCluster;
  decision.source.published = decision.destination.published = false;
  decision.source_identity = decision.destination_identity = Identity{};
  decision.frontend = nullptr;
  decision.backend = nullptr;
  decision.next_backend = 0;
  decision.egress_policy = decision.ingress_policy = PolicyVerdict{};
  decision.egress.peer = kNoPeer;
  decision.valid_until = Seconds{0};
  in.tables.epochs.begin(decision.depends);
}

Refusal decide_target(const DecisionInput& in, Decision& decision) noexcept {
  const ClusterId own = in.tables.options.cluster;
  if (decision.destination.cluster == kNoCluster) {
    return DropReason::kNoRoute;
  }
  if (decision.source.cluster != own && decision.destination.cluster != own) {
    return DropReason::kTransit;
  }
  if (const Refusal refusal = check_policy(in, decision)) {
    return refusal;
  }
  return route(in, decision);
}

// What answers comes from the one and goes to the other.
void set_reply_alias(const DecisionInput& in, Decision& decision) noexcept {
  const AliasTable& aliases = in.snapshot.aliases;
  if (!aliases.empty()) {
    decision.new_reply.set_source(aliases.to_own(decision.new_reply.source()));
    decision.new_reply.set_destination(aliases.to_alias(decision.new_reply.destination()));
  }
}

bool is_vip(const DecisionInput& in, const IpAddress& address) noexcept {
  const std::uint64_t hash = address_hash(in.facts.key.realm, address);
  return in.snapshot.shard(hash).has_vip(in.facts.key.realm, address, hash);
}

// Policy must not change which backend the ring selects, so its denial is final.
Refusal decide_service(const DecisionInput& in, Decision& decision) noexcept {
  BackendWalk walk = walk_backends(in, decision);
  const Dependencies before = decision.depends;
  Refusal refusal = DropReason::kNoLiveBackend;
  for (unsigned number = 0; number < kBackendTries; ++number) {
    const BackendEntry* backend = walk.next();
    if (backend == nullptr) {
      break;
    }
    if (number < in.facts.alternative.first_backend) {
      continue;
    }
    decision.standing = number == 0;  // a refusal would depend on the words of several backends
    decision.depends = before;
    decision.next_backend = number + 1;
    refusal = decide_backend(in, decision, *backend);
    if (!refusal || refusal == DropReason::kPolicyDenied || refusal == DropReason::kPolicyDeny) {
      break;
    }
  }
  return refusal;
}

IpAddress fleet_form(const Snapshot& snapshot, const IpAddress& address) noexcept {
  return snapshot.aliases.empty() ? address : snapshot.aliases.to_alias(address);
}

void look_up(const DecisionInput& in, Decision& decision, const IpAddress& address, std::uint64_t hash,
             End& end) noexcept {
  if (in.snapshot.aliases.is_own(address)) {
    const IpAddress alias = in.snapshot.aliases.to_alias(address);
    return look_up(in, decision, alias, address_hash(in.facts.key.realm, alias), end);
  }
  if (decision.opens) {
    in.tables.epochs.depend(decision.depends, EpochTable::of_address(hash));
  } else {  // find_service() may have asked for it
    in.tables.epochs.depend_once(decision.depends, EpochTable::of_address(hash));
  }
  find_end(in.snapshot, in.tables.endpoints, in.facts.key.realm, address, hash, end);
}

void find_end(const Snapshot& snapshot, const EndpointTable& endpoints, Realm realm, const IpAddress& address,
              std::uint64_t hash, End& end) noexcept {
  if (snapshot.aliases.is_own(address)) {
    const IpAddress alias = snapshot.aliases.to_alias(address);
    return find_end(snapshot, endpoints, realm, alias, address_hash(realm, alias), end);
  }
  EndpointInfo endpoint;
  end.published = endpoints.find(realm, address, hash, endpoint);
  end.cluster = snapshot.clusters->cluster_of(realm, address);
  if (end.cluster == kNoCluster && end.published) {  // in no prefix: a node, or a pod of a cluster without node CIDRs
    end.cluster = endpoint.cluster;
  }
  end.identity = end.published ? endpoint.identity : snapshot.policy->by_prefix(realm, address, identity::kWorld);
  end.receives_as = snapshot.policy->receives_as(realm, address, end.identity);
  end.previous = endpoint.previous;
  end.grace_until = endpoint.grace_until;
  end.node = endpoint.node;
}

void depend_on_peer(const DecisionInput& in, Decision& decision, PeerId peer) noexcept {
  const bool own = (*in.snapshot.peers)[peer].cluster == in.tables.options.cluster;
  if (own) {
    in.tables.epochs.depend_once(decision.depends, EpochTable::of_own_peers());
  } else {
    in.tables.epochs.depend(decision.depends, EpochTable::of_peer(peer));
  }
}

void decide(const Snapshot& snapshot, const DecisionTables& tables, const PacketFacts& facts,
            const DecisionCaches& caches, Decision& decision) noexcept {
  const DecisionInput in{snapshot, tables, facts, caches};
  begin(in, decision);
  if (const Refusal refusal = run_steps(in, decision)) {
    if (decision.opens && !decision.answers() && decision.backend == nullptr) {
      decision.new_reply = facts.key.reversed();
      set_reply_alias(in, decision);
    }
    decision.refused = true;
    decision.standing = decision.standing && *refusal != DropReason::kDsrOption;  // the next option may say otherwise
    decision.reply_known = false;
    decision.reason = *refusal;
    return;
  }
  decision.reply_known = decision.reply_known && (decision.dsr || route_reply(in, decision));
  build_blocks(in, decision);
  if (decision.dsr && decision.opens && !decision.reply_known) [[unlikely]] {  // nothing would hold the service's name
    decision.refused = true;
    decision.standing = false;
    decision.reason = DropReason::kDsrOption;
  }
}

}  // namespace isthmus
