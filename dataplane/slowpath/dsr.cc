// dsr: what a load balancer may ask for by a DSR option (packet/dsr.h). Such a packet has a source outside its sender's
// cluster, which nobody else could vouch for. A node or gateway of our own cluster may forward for clients of any
// cluster; one of another cluster that is linked with ours for its own and for those that the underlay routes, of which
// nothing is known but their addresses anyway. The VNI is world's, so that the client has the identity that its address
// has. What a cluster's load balancers have opened is that cluster's: nobody else sends in it, or takes it over
// (dsr_claim() in events.cc).
#include "dataplane/api/identity.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

bool may_forward_for(const DecisionInput& in, const Decision& decision, const PeerRecord& sender) noexcept {
  const ClusterId client = decision.source.cluster;
  return client != kNoCluster && (client == sender.cluster || sender.cluster == in.tables.options.cluster ||
                                  is_native(in, in.facts.key.source()));
}

// Whose load balancer has opened the connection, or opens it.
ClusterId balancing_cluster(const DecisionInput& in, const Decision& decision) noexcept {
  if (decision.opens) {
    return (*in.snapshot.peers)[in.facts.origin.peer()].cluster;
  }
  const ClusterId opener = in.facts.connection->shared.cluster;
  return opener != kNoCluster ? opener : in.tables.options.cluster;
}

// Which no service has: link-local addresses (RFC 3927, RFC 4291 section 2.5.6), and what IPv4 keeps for later (RFC
// 1112 section 4), the broadcast address included.
bool is_never_a_service(const IpAddress& address) noexcept {
  const auto& bytes = address.bytes();
  if (address.is_ipv4()) {
    return bytes[12] >= 0xf0 || (bytes[12] == 169 && bytes[13] == 254);
  }
  return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

// Ours, or that of a tunnel end, an endpoint or a node that the hubs have published: something answers there itself.
bool is_somebody(const DecisionInput& in, const IpAddress& address) noexcept {
  const EngineOptions& options = in.tables.options;
  if (address == options.translation_ipv4 || address == options.translation_ipv6 || options.tunnel.is_ours(address) ||
      in.snapshot.aliases.is_alias(address) || in.snapshot.peers->find(address) != kNoPeer) {
    return true;
  }
  const IpAddress known = fleet_form(in.snapshot, address);
  const Realm realm = in.facts.key.realm;
  EndpointInfo endpoint;
  return in.tables.endpoints.find(realm, known, address_hash(realm, known), endpoint);
}

}  // namespace

Refusal check_dsr(const DecisionInput& in, const Decision& decision, const PeerRecord& sender) noexcept {
  const PacketFacts& facts = in.facts;
  if (!(*in.snapshot.clusters)[sender.cluster].linked) {
    return DropReason::kNotLinked;
  }
  if (sender.cluster != balancing_cluster(in, decision) || !may_forward_for(in, decision, sender)) {
    return DropReason::kSourceOutsideCluster;
  }
  if (facts.icmp_error) {
    return std::nullopt;
  }
  const bool allowed = facts.origin.vni().value() == identity::kWorld.value() &&
                       (!decision.opens || (has_ports(facts.key.protocol) && decision.asked.port != Be16{}));
  return allowed ? Refusal{} : DropReason::kDsrOption;
}

// An address of nobody's, or of the load balancer's own cluster, where it may be a VIP but nothing else. The name's
// word is the last one, and left out where there is no room for it: then a change of the name's is seen with the next
// one of anything else.
Refusal check_dsr_name(const DecisionInput& in, Decision& decision) noexcept {
  const IpAddress name = decision.asked.address;
  const Realm realm = in.facts.key.realm;
  if (decision.depends.count < kEpochsPerBlock) {
    in.tables.epochs.depend_once(decision.depends,
                                 EpochTable::of_address(address_hash(realm, fleet_form(in.snapshot, name))));
  }
  FlowKey answer = decision.forward->reversed();
  answer.set_source(name);
  if (is_never_a_service(name) || is_somebody(in, name) || check_header(in.tables.options, answer, Direction::kReply)) {
    return DropReason::kDsrOption;
  }
  const ClusterId owner = in.snapshot.clusters->cluster_of(realm, fleet_form(in.snapshot, name));
  const bool may_be = owner == balancing_cluster(in, decision) || (owner == kNoCluster && !is_vip(in, name));
  return may_be ? Refusal{} : DropReason::kDsrOption;
}

}  // namespace isthmus
