// stray error: an ICMP error about a packet whose connection we do not know. Where a cluster has several gateways, what
// reports on a packet may come through another one than the packet went through: by a route of the reporter's own.
//
// It passes if the packet that it quotes would, by the same checks: the reporter belongs to the cluster that the packet
// was sent to, and comes from there; source and destination lie in the prefixes of linked clusters; policy allows the
// packet, or the one that it would answer. Own addresses and aliases are exchanged, which takes no connection. An error
// to a VIP goes to the backend that the ring has for its client, the one that any gateway chooses. What has another
// port, or the source of another, was translated by a connection: only the gateway that has it can tell of what.
// Nothing is opened. How many pass is limited (commit.cc).
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

bool is_denial(const Refusal& refusal) noexcept {
  return refusal == DropReason::kPolicyDenied || refusal == DropReason::kPolicyDeny;
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
