// policy: clusters exchange packets only where a cross-cluster network profile links them with ours; identities, as the
// policies of those that are ours allow: egress of the source, then ingress of the destination. The verdict is the
// connection's: both directions, and ICMP errors, ask about the forward pair, with the source before translation and
// the destination behind it.
#include "dataplane/api/identity.h"
#include "dataplane/path/admission.h"

namespace isthmus {
namespace {

// Who the two ends of the connection are, however this packet travels.
struct ForwardPair {
  Identity source, destination;
  bool source_ours = false, destination_ours = false;
};

// What policy asks for as port: for echo connections the type they open with.
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

Identity identity_at(const PathContext& context, Realm realm, const IpAddress& address) noexcept {
  EndpointInfo endpoint;
  return context.shared.endpoints.find(realm, address, endpoint)
             ? endpoint.identity
             : context.snapshot->policy->by_prefix(realm, address, identity::kWorld);
}

// The forward source as seen from a packet that does not carry its identity. One that was never published is still who
// its VNI said; one that was and is no more is only an address.
Identity forward_source(const PathContext& context, const Admission& admission) noexcept {
  const FlowKey& forward = admission.forward;
  EndpointInfo endpoint;
  if (context.shared.endpoints.find(forward.realm, forward.source, endpoint)) {
    return endpoint.identity;
  }
  const ConnectionShared& shared = admission.packet.hit.shared();
  const bool was_known = (shared.user_flags.load(std::memory_order_relaxed) & known_flag(Direction::kForward)) != 0;
  const Identity said{wire_vni(shared.source_identity).value()};
  return said == identity::kWorld || was_known
             ? context.snapshot->policy->by_prefix(forward.realm, forward.source, identity::kWorld)
             : said;
}

ForwardPair pair_of(const PathContext& context, const Admission& admission) noexcept {
  const bool forward = admission.direction == Direction::kForward;
  const ClusterId own = context.shared.options.cluster;
  const ClusterId source = forward ? admission.source_cluster : admission.destination_cluster;
  const ClusterId destination = forward ? admission.destination_cluster : admission.source_cluster;
  ForwardPair pair;
  pair.source =
      forward && !admission.packet.icmp_error ? admission.source_identity : forward_source(context, admission);
  pair.destination = identity_at(context, admission.forward.realm, admission.reply.source);
  // An endpoint without labels is who its address makes it, much like an address that is no endpoint.
  const auto by_address = [&](Identity known, const IpAddress& address) {
    const bool unlabelled = identity::is_unlabelled(known);
    if (known != identity::kWorld && !unlabelled) {
      return known;
    }
    const Identity found = context.snapshot->policy->by_prefix(admission.forward.realm, address, identity::kWorld);
    return unlabelled ? identity::unlabelled_at(found, known) : found;
  };
  pair.source = by_address(pair.source, admission.forward.source);
  pair.destination = by_address(pair.destination, admission.reply.source);
  pair.source_ours = source == own;
  pair.destination_ours = destination == own;
  return pair;
}

// What the policy in the snapshot says. `epoch`: of the subject's word, sampled before.
PolicyVerdict ask(PathContext& context, const VerdictCache::Question& question, std::uint32_t epoch) noexcept {
  if (const PolicyVerdict* known = context.verdicts.find(question, epoch)) {
    return *known;
  }
  const PolicyTable& table = *context.snapshot->policy;
  const PolicyVerdict verdict = question.ingress ? table.ingress(question.subject, question.peer, question.l4)
                                                 : table.egress(question.subject, question.peer, question.l4);
  if (context.shared.snapshot.load(std::memory_order_acquire) == context.snapshot) {
    context.verdicts.keep(question, epoch, verdict);
  }
  return verdict;
}

// A denied direction's reason, and a note of what audit let pass.
Refusal refusal_of(PathContext& context, PolicyOutcome outcome) noexcept {
  switch (outcome) {
    case PolicyOutcome::kDenied:
      return DropReason::k_policy_denied;
    case PolicyOutcome::kDeniedByRule:
      return DropReason::k_policy_deny;
    case PolicyOutcome::kAudited:
      context.counters.policy_audited.add();
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace

Refusal policy(PathContext& context, Admission& admission) noexcept {
  const ClusterTable& clusters = *context.snapshot->clusters;
  EpochTable& epochs = context.shared.flows->epochs();
  DirectionBlock& block = admission.block;
  epochs.sample(block, kDestinationPlace, EpochTable::of_endpoint(admission.own().realm, admission.target()));
  if (!clusters[admission.source_cluster].linked || !clusters[admission.destination_cluster].linked) {
    return DropReason::k_not_linked;
  }
  const ForwardPair pair = pair_of(context, admission);
  admission.destination_identity = admission.direction == Direction::kForward ? pair.destination : pair.source;
  admission.egress = admission.ingress = PolicyVerdict{};
  const PolicyL4 l4 = l4_of(admission);
  epochs.sample(block, kSubjectPlace, EpochIndex{0});
  epochs.sample(block, kPeerPlace, EpochIndex{0});
  if (pair.source_ours) {
    epochs.sample(block, kSubjectPlace, EpochTable::of_policy_subject(pair.source));
    admission.egress = ask(context, {pair.source, pair.destination, l4, false}, block.epoch_value[kSubjectPlace]);
    if (const auto refusal = refusal_of(context, admission.egress.outcome)) {
      return refusal;
    }
  }
  if (pair.destination_ours) {
    const EpochPlace place = pair.source_ours ? kPeerPlace : kSubjectPlace;
    epochs.sample(block, place, EpochTable::of_policy_subject(pair.destination));
    admission.ingress = ask(context, {pair.destination, pair.source, l4, true}, block.epoch_value[place]);
    return refusal_of(context, admission.ingress.outcome);
  }
  return std::nullopt;
}

}  // namespace isthmus
