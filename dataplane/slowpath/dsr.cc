// dsr: what a load balancer may ask for by a DSR option (packet/dsr.h). Such a packet has a source outside its sender's
// cluster, which nobody else could vouch for: a node or gateway of our own cluster may forward for clients of any
// cluster, one of another cluster for its own and for those that the underlay routes, of which nothing is known but
// their addresses anyway. The VNI is world's, so that the client has the identity that its address has.
#include "dataplane/api/identity.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

bool may_forward_for(const DecisionInput& in, const Decision& decision, const PeerRecord& sender) noexcept {
  const ClusterId client = decision.source.cluster;
  return client != kNoCluster && (client == sender.cluster || sender.cluster == in.tables.options.cluster ||
                                  is_native(in, in.facts.key.source()));
}

// Of no cluster but the sender's: nobody answers in the name of another one's addresses.
bool may_name(const DecisionInput& in, const Decision& decision, const PeerRecord& sender) noexcept {
  const FlowKey& key = in.facts.key;
  const EngineOptions& options = in.tables.options;
  const IpAddress service = decision.asked.address;
  if (decision.asked.port == Be16{} || service == options.translation_ipv4 || service == options.translation_ipv6 ||
      options.tunnel.is_ours(service)) {
    return false;
  }
  FlowKey reply = key.reversed();
  reply.set_source(service);
  const ClusterId owner = in.snapshot.clusters->cluster_of(key.realm, fleet_form(in.snapshot, service));
  return !check_header(options, reply, Direction::kReply) && (owner == kNoCluster || owner == sender.cluster);
}

}  // namespace

Refusal check_dsr(const DecisionInput& in, const Decision& decision, const PeerRecord& sender) noexcept {
  const PacketFacts& facts = in.facts;
  if (!may_forward_for(in, decision, sender)) {
    return DropReason::kSourceOutsideCluster;
  }
  if (facts.icmp_error) {
    return std::nullopt;
  }
  const bool allowed = facts.origin.vni().value() == identity::kWorld.value() &&
                       (!decision.opens || (has_ports(facts.key.protocol) && may_name(in, decision, sender)));
  return allowed ? Refusal{} : DropReason::kDsrOption;
}

}  // namespace isthmus
