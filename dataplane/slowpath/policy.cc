// policy: both clusters must be linked with ours by a cross-cluster network profile, and the policies of the endpoints
// in our cluster must allow the pair of identities: egress of the source, then ingress of the destination. The verdict
// is that of the connection: both directions, and ICMP errors, are checked for the forward pair, with the source before
// and the destination after translation.
#include "dataplane/api/identity.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/echo.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// The two ends of the connection in forward direction, whichever direction this packet travels.
struct ForwardPair {
  Identity source, destination;
  bool source_local = false, destination_local = false;  // in our cluster
};

// Protocol and port as policy matches them. For ICMP echo the port is the type of the connection's first packet.
PolicyL4 l4_of(const Decision& decision) noexcept {
  const FlowKey& forward = *decision.forward;
  const auto number = static_cast<std::uint8_t>(forward.protocol);
  const bool request = is_echo_request(forward.source_port, forward.destination_port);
  switch (forward.protocol) {
    case IpProtocol::kIcmp:
      return {number, request ? net::icmp4::kEchoRequest : net::icmp4::kEchoReply};
    case IpProtocol::kIcmpv6:
      return {number, request ? net::icmp6::kEchoRequest : net::icmp6::kEchoReply};
    default:
      return {number, decision.reply->source_port.host()};
  }
}

// The identity of the forward source for a packet that does not carry it. A source that was never published keeps the
// identity that its VNI claimed; one that was published and has been removed, or whose packets were never seen, is only
// an address.
Identity stored_source(const DecisionInput& in, const End& end) noexcept {
  if (in.facts.connection == nullptr) {
    return end.identity;
  }
  const ConnectionShared& shared = in.facts.connection->shared;
  const bool was_published = (shared.user_flags() & published_flag(Direction::kForward)) != 0;
  const Identity claimed{wire_vni(shared.source_identity).value()};
  return end.published || was_published || claimed == identity::kWorld ? end.identity : claimed;
}

// An endpoint without labels gets its identity from its address, like an address that is no endpoint.
Identity resolve(const DecisionInput& in, Identity id, const IpAddress& address) noexcept {
  const bool unlabelled = identity::is_unlabelled(id);
  if (id != identity::kWorld && !unlabelled) {
    return id;
  }
  const Identity found =
      in.snapshot.policy->by_prefix(in.facts.key.realm, fleet_form(in.snapshot, address), identity::kWorld);
  return unlabelled ? identity::unlabelled_at(found, id) : found;
}

ForwardPair forward_pair(const DecisionInput& in, const Decision& decision) noexcept {
  const bool forward = decision.direction == Direction::kForward;
  const ClusterId own = in.tables.options.cluster;
  const End& source = forward ? decision.source : decision.destination;
  const End& destination = forward ? decision.destination : decision.source;
  const bool carried = forward && !in.facts.icmp_error;
  ForwardPair pair;
  pair.source = resolve(in, carried ? decision.source_identity : stored_source(in, source), decision.forward->source());
  pair.destination = resolve(in, destination.identity, decision.reply->source());
  pair.source_local = source.cluster == own;
  pair.destination_local = destination.cluster == own;
  return pair;
}

PolicyVerdict evaluate_anew(const DecisionInput& in, const VerdictCache::Key& key) noexcept {
  const PolicyTable& table = *in.snapshot.policy;
  return key.ingress ? table.ingress(key.subject, key.peer, key.l4) : table.egress(key.subject, key.peer, key.l4);
}

// Of all ports that the policy treats alike.
PolicyVerdict evaluate_class(const DecisionInput& in, VerdictCache& cache, const VerdictCache::Key& key,
                             std::uint32_t epoch) noexcept {
  constexpr std::uint32_t kMostClasses = 0xffff;
  const std::uint32_t number = in.snapshot.policy->class_of(key.subject, key.ingress, key.l4);
  VerdictCache::Key of_class = key;
  of_class.l4 = {0, static_cast<std::uint16_t>(number)};
  const PolicyVerdict* cached =
      number <= kMostClasses ? cache.find(VerdictCache::By::kClass, of_class, epoch) : nullptr;
  const PolicyVerdict verdict = cached != nullptr ? *cached : evaluate_anew(in, key);
  if (cached == nullptr && number <= kMostClasses) {
    cache.stage(VerdictCache::By::kClass, of_class, epoch, verdict);
  }
  cache.stage(VerdictCache::By::kPort, key, epoch, verdict);
  return verdict;
}

// Depends on the subject's word, then evaluates the policy of the snapshot.
PolicyVerdict evaluate(const DecisionInput& in, Decision& decision, const VerdictCache::Key& key) noexcept {
  const std::uint32_t epoch =
      in.tables.epochs.depend_once(decision.depends, EpochTable::of_policy_subject(key.subject));
  VerdictCache* cache = in.caches.verdicts;
  if (const PolicyVerdict* cached = cache != nullptr ? cache->find(VerdictCache::By::kPort, key, epoch) : nullptr) {
    return *cached;
  }
  return cache != nullptr ? evaluate_class(in, *cache, key, epoch) : evaluate_anew(in, key);
}

Refusal denial_of(const PolicyVerdict& verdict) noexcept {
  switch (verdict.outcome) {
    case PolicyOutcome::kDenied:
      return DropReason::kPolicyDenied;
    case PolicyOutcome::kDeniedByRule:
      return DropReason::kPolicyDeny;
    default:
      return std::nullopt;
  }
}

// A packet that is taken for an answer although its connection was never seen to be opened: its sender must not get by
// with that what it may not send by itself.
bool is_unproven_answer(const DecisionInput& in, const Decision& decision) noexcept {
  const Connection* connection = in.facts.connection;
  if (connection == nullptr && in.facts.icmp_error) {  // of which headers pass alone, and only from whom may report
    return false;
  }
  return decision.answers() || (connection != nullptr && connection->starts_with_answer() && !decision.opens &&
                                decision.direction == Direction::kReply);
}

}  // namespace

Refusal check_policy(const DecisionInput& in, Decision& decision) noexcept {
  const ClusterTable& clusters = *in.snapshot.clusters;
  if (!clusters[decision.source.cluster].linked || !clusters[decision.destination.cluster].linked) {
    return DropReason::kNotLinked;
  }
  const ForwardPair pair = forward_pair(in, decision);
  const PolicyTable& table = *in.snapshot.policy;
  const Realm realm = in.facts.key.realm;
  const Identity receiver =
      table.receives_as(realm, fleet_form(in.snapshot, decision.reply->source()), pair.destination);
  decision.destination_identity = decision.direction == Direction::kForward ? pair.destination : pair.source;
  decision.egress_policy = decision.ingress_policy = PolicyVerdict{};
  if (decision.forward->source() == decision.reply->source()) {  // through a service: nothing keeps a pod from itself
    return std::nullopt;
  }
  const PolicyL4 l4 = l4_of(decision);
  if (pair.source_local) {
    decision.egress_policy = evaluate(in, decision, {pair.source, receiver, l4, false});
    if (const Refusal refusal = denial_of(decision.egress_policy)) {
      return refusal;
    }
  }
  if (pair.destination_local) {
    decision.ingress_policy = evaluate(in, decision, {receiver, pair.source, l4, true});
    if (const Refusal refusal = denial_of(decision.ingress_policy)) {
      return refusal;
    }
  }
  if (!is_unproven_answer(in, decision)) {
    return std::nullopt;
  }
  const PolicyL4 own{l4.protocol, decision.forward->source_port.host()};
  const Identity asker = table.receives_as(realm, fleet_form(in.snapshot, decision.forward->source()), pair.source);
  // What the receiver may send is what its own identity may: a decision has no room for the words of both.
  return denial_of(evaluate(in, decision, {receiver, asker, own, false}));
}

}  // namespace isthmus
