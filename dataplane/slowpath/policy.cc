// policy: both clusters must be linked with ours by a cross-cluster network profile, and the policies of the endpoints
// in our cluster must allow the pair of identities: egress of the source, then ingress of the destination. The verdict
// is that of the connection: both directions, and ICMP errors, are checked for the forward pair, with the source before
// and the destination after translation.
#include "dataplane/api/identity.h"
#include "dataplane/slowpath/admission.h"

namespace isthmus {
namespace {

// The two ends of the connection in forward direction, whichever direction this packet travels.
struct ForwardPair {
  Identity source, destination;
  bool source_local = false, destination_local = false;  // in our cluster
};

// Protocol and port as policy matches them. For ICMP echo the port is the type of the connection's first packet.
PolicyL4 l4_of(const Admission& admission) noexcept {
  const IpProtocol protocol = admission.forward.protocol;
  const auto number = static_cast<std::uint8_t>(protocol);
  const bool request = admission.forward.destination_port == Be16{};  // the identifier is the source's port
  switch (protocol) {
    case IpProtocol::kIcmp:
      return {number, request ? net::icmp4::kEchoRequest : net::icmp4::kEchoReply};
    case IpProtocol::kIcmpv6:
      return {number, request ? net::icmp6::kEchoRequest : net::icmp6::kEchoReply};
    default:
      return {number, admission.reply.source_port.host()};
  }
}

Identity identity_at(const SlowContext& context, Realm realm, const IpAddress& address) noexcept {
  EndpointInfo endpoint;
  return context.shared.endpoints.find(realm, address, endpoint)
             ? endpoint.identity
             : context.snapshot->policy->by_prefix(realm, address, identity::kWorld);
}

// The identity of the forward source for a packet that does not carry it. A source that was never published keeps the
// identity that its VNI claimed; one that was published and has been removed is only an address.
Identity forward_source(const SlowContext& context, const Admission& admission) noexcept {
  const FlowKey& forward = admission.forward;
  EndpointInfo endpoint;
  if (context.shared.endpoints.find(forward.realm, forward.source(), endpoint)) {
    return endpoint.identity;
  }
  const ConnectionShared& shared = admission.hit.shared();
  const bool was_published =
      (shared.user_flags.load(std::memory_order_relaxed) & published_flag(Direction::kForward)) != 0;
  const Identity claimed{wire_vni(shared.source_identity).value()};
  return claimed == identity::kWorld || was_published
             ? context.snapshot->policy->by_prefix(forward.realm, forward.source(), identity::kWorld)
             : claimed;
}

ForwardPair forward_pair(const SlowContext& context, const Admission& admission) noexcept {
  const bool forward = admission.direction == Direction::kForward;
  const ClusterId own = context.shared.options.cluster;
  const ClusterId source = forward ? admission.source_cluster : admission.destination_cluster;
  const ClusterId destination = forward ? admission.destination_cluster : admission.source_cluster;
  ForwardPair pair;
  pair.source =
      forward && !admission.packet.icmp_error ? admission.source_identity : forward_source(context, admission);
  pair.destination = identity_at(context, admission.forward.realm, admission.reply.source());
  // An endpoint without labels gets its identity from its address, like an address that is no endpoint.
  const auto resolve = [&](Identity id, const IpAddress& address) {
    const bool unlabelled = identity::is_unlabelled(id);
    if (id != identity::kWorld && !unlabelled) {
      return id;
    }
    const Identity found = context.snapshot->policy->by_prefix(admission.forward.realm, address, identity::kWorld);
    return unlabelled ? identity::unlabelled_at(found, id) : found;
  };
  pair.source = resolve(pair.source, admission.forward.source());
  pair.destination = resolve(pair.destination, admission.reply.source());
  pair.source_local = source == own;
  pair.destination_local = destination == own;
  return pair;
}

// Evaluates the policy of the snapshot. `epoch`: value of the subject's epoch word, sampled before this call.
PolicyVerdict evaluate(SlowContext& context, const VerdictCache::Key& key, std::uint32_t epoch) noexcept {
  if (const PolicyVerdict* cached = context.verdicts.find(key, epoch)) {
    return *cached;
  }
  const PolicyTable& table = *context.snapshot->policy;
  const PolicyVerdict verdict =
      key.ingress ? table.ingress(key.subject, key.peer, key.l4) : table.egress(key.subject, key.peer, key.l4);
  if (context.shared.snapshot.load(std::memory_order_acquire) == context.snapshot) {
    context.verdicts.store(key, epoch, verdict);
  }
  return verdict;
}

// The drop reason of a denied direction. Counts a denial that audit mode lets pass.
std::optional<DropReason> denial_of(SlowContext& context, PolicyOutcome outcome) noexcept {
  switch (outcome) {
    case PolicyOutcome::kDenied:
      return DropReason::kPolicyDenied;
    case PolicyOutcome::kDeniedByRule:
      return DropReason::kPolicyDeny;
    case PolicyOutcome::kAudited:
      context.counters.policy_audited.add();
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<DropReason> policy(SlowContext& context, Admission& admission) noexcept {
  const ClusterTable& clusters = *context.snapshot->clusters;
  EpochTable& epochs = context.shared.flows->epochs();
  DirectionBlock& block = admission.block;
  epochs.sample(block, kDestinationEpoch, EpochTable::of_endpoint(admission.own().realm, admission.target()));
  if (!clusters[admission.source_cluster].linked || !clusters[admission.destination_cluster].linked) {
    return DropReason::kNotLinked;
  }
  const ForwardPair pair = forward_pair(context, admission);
  admission.destination_identity = admission.direction == Direction::kForward ? pair.destination : pair.source;
  admission.egress = admission.ingress = PolicyVerdict{};
  const PolicyL4 l4 = l4_of(admission);
  epochs.sample(block, kSubjectEpoch, EpochIndex{0});
  epochs.sample(block, kPeerEpoch, EpochIndex{0});
  if (pair.source_local) {
    epochs.sample(block, kSubjectEpoch, EpochTable::of_policy_subject(pair.source));
    admission.egress = evaluate(context, {pair.source, pair.destination, l4, false}, block.epoch_value[kSubjectEpoch]);
    if (const auto drop = denial_of(context, admission.egress.outcome)) {
      return drop;
    }
  }
  if (pair.destination_local) {
    const EpochSlot slot = pair.source_local ? kPeerEpoch : kSubjectEpoch;
    epochs.sample(block, slot, EpochTable::of_policy_subject(pair.destination));
    admission.ingress = evaluate(context, {pair.destination, pair.source, l4, true}, block.epoch_value[slot]);
    return denial_of(context, admission.ingress.outcome);
  }
  return std::nullopt;
}

}  // namespace isthmus
