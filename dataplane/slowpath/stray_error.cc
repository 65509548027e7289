// stray error: an ICMP error about a packet whose connection we do not know. Where a cluster has several gateways, what
// reports on a packet may come through another one than the packet went through: by a route of the reporter's own.
//
// It passes if the packet that it quotes would, by the same checks: it comes from the cluster that the packet was sent
// to; source and destination lie in the prefixes of linked clusters; policy allows the packet, or the one that it would
// answer. The reporter is the packet's destination itself, or a node or gateway of its cluster, known by an address
// that is published as such. Any other address may be a pod's, for which policy would not hold: it could report of
// packets to pods that may do more than itself. Own addresses and aliases are exchanged, which takes no connection. An
// error to a VIP goes to the backend that the ring has for its client, the one that any gateway chooses. What has
// another port, or the source of another, was translated by a connection: only the gateway that has it can tell of
// what. Nothing is opened. How many pass is limited (stray_limits.h), and what passes is cut to the headers that its
// receiver needs (path/stray_error_slow.cc).
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

bool is_denial(const Refusal& refusal) noexcept {
  return refusal == DropReason::kPolicyDenied || refusal == DropReason::kPolicyDeny;
}

// A node's address, or a tunnel end's: what is on the way of packets to others.
bool is_router(const DecisionInput& in, const IpAddress& address, const End& end) noexcept {
  if (end.published) {
    return end.identity == identity::kHost || end.identity == identity::kRemoteNode ||
           end.identity == identity::kKubeApiserver;
  }
  const PeerId peer = in.snapshot.peers->find(address);
  return peer != kNoPeer && (*in.snapshot.peers)[peer].cluster == end.cluster;
}

// RFC 5508 section 4, and that pods report of nothing but what was sent to them.
Refusal check_stray_reporter(const DecisionInput& in, const Decision& decision) noexcept {
  const PacketFacts& facts = in.facts;
  const IpAddress& reporter = facts.reporter;
  if (reporter == facts.key.source()) {
    return std::nullopt;
  }
  const bool outside = in.snapshot.is_outside(facts.origin, in.tables.options.cluster);
  if (!outside && in.snapshot.aliases.is_alias(reporter)) {
    return DropReason::kAliasMismatch;
  }
  End end;
  find_end(in.snapshot, in.tables.endpoints, facts.key.realm, reporter, address_hash(facts.key.realm, reporter), end);
  if (end.cluster != decision.source.cluster || (outside && in.snapshot.aliases.is_own(reporter))) {
    return facts.origin.side() == Side::kFabric ? DropReason::kSourceOutsideCluster : DropReason::kForeignSource;
  }
  // The reporter gets its alias with what it reports of.
  const IpAddress quoted = facts.key.source();
  if (!outside && fleet_form(in.snapshot, reporter) != reporter && fleet_form(in.snapshot, quoted) == quoted) {
    return DropReason::kAliasMismatch;
  }
  return is_router(in, reporter, end) ? std::nullopt : Refusal{DropReason::kIcmpReporter};
}

// The error in reply direction of a connection that the quoted packet would open.
Refusal decide_as_reply(const DecisionInput& in, Decision& decision) noexcept {
  const AliasTable& aliases = in.snapshot.aliases;
  decision.new_forward = in.facts.key.reversed();
  decision.new_forward.set_source(aliases.to_own(decision.new_forward.source()));
  decision.new_forward.set_destination(aliases.to_alias(decision.new_forward.destination()));
  if (const Refusal refusal = check_header(in.tables.options, decision.new_forward, Direction::kForward)) {
    return refusal;
  }
  decision.direction = Direction::kReply;
  decision.forward = &decision.new_forward;
  decision.reply = &in.facts.key;
  return decide_target(in, decision);
}

// The error in forward direction of a connection whose answer it quotes.
Refusal decide_as_forward(const DecisionInput& in, Decision& decision) noexcept {
  decision.direction = Direction::kForward;
  decision.forward = &in.facts.key;
  decision.new_reply = in.facts.key.reversed();
  decision.reply = &decision.new_reply;
  set_reply_alias(in, decision);
  return decide_target(in, decision);
}

// The same of a connection by a service.
Refusal decide_to_backend(const DecisionInput& in, Decision& decision) noexcept {
  decision.reply = &decision.new_reply;
  if (const Refusal refusal = find_service(in, decision)) {
    return refusal;
  }
  const Refusal refusal = decide_service(in, decision);
  decision.reply_known = false;
  return refusal || !decision.translated ? refusal : Refusal{DropReason::kUnsupportedIcmp};
}

}  // namespace

Refusal check_quote(const DecisionInput& in) noexcept {
  const FlowKey& key = in.facts.key;
  const auto& options = in.tables.options;
  const IpAddress target = key.destination();
  if (target == options.translation_ipv4 || target == options.translation_ipv6 || is_vip(in, key.source())) {
    return DropReason::kUnsupportedIcmp;
  }
  return key.protocol == IpProtocol::kTcp && options.midstream == MidstreamPolicy::kDrop
             ? Refusal{DropReason::kMidstream}
             : std::nullopt;
}

Refusal decide_stray_error(const DecisionInput& in, Decision& decision) noexcept {
  const FlowKey& key = in.facts.key;
  const IpAddress target = key.destination();
  if (const Refusal refusal = check_stray_reporter(in, decision)) {
    return refusal;
  }
  decision.passes = true;
  if (is_vip(in, target)) {
    return decide_to_backend(in, decision);
  }
  look_up(in, decision, target, address_hash(key.realm, target), decision.destination);
  const ClusterId own = in.tables.options.cluster;
  if (decision.source.cluster == own && decision.destination.cluster == own) {
    return DropReason::kUnsupportedIcmp;  // we are not on the way
  }
  const Dependencies before = decision.depends;
  const Refusal refusal = decide_as_reply(in, decision);
  if (!is_denial(refusal)) {
    return refusal;
  }
  decision.depends = before;
  return decide_as_forward(in, decision);
}

}  // namespace isthmus
