// dsr: what a load balancer may do by a DSR option (packet/dsr.h): all the rules there are, which README tells.
//
// Its packet has a source outside its sender's cluster, which nobody else could vouch for, and asks for replies in a
// name that is not the backend's. So little of it is believed: a sender that is linked, clients for whom it may speak,
// backends that are known to serve at that port, names that are nobody else's. And a connection that is there is not
// touched by it, unless the same cluster's load balancers have opened it, with the exceptions in claim_by_option().
// What follows from the connection's state is dsr_claim()'s, what follows from the tables the other functions', which
// are parts of decide(): they are asked for both directions, and again whenever one of their words moves.
#include "dataplane/api/identity.h"
#include "dataplane/slowpath/admit.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// Who has opened the connection, or opens it.
ClusterId balancer_of(const ConnectionShared& shared, ClusterId own) noexcept {
  return shared.cluster != kNoCluster ? shared.cluster : own;
}

ClusterId balancer_of(const DecisionInput& in, const Decision& decision) noexcept {
  return decision.opens ? (*in.snapshot.peers)[in.facts.origin.peer()].cluster
                        : balancer_of(in.facts.connection->shared, in.tables.options.cluster);
}

bool opens_by_itself(const Packet& packet) noexcept {
  return packet.key.protocol != IpProtocol::kTcp || tcp_flag::is_opening(packet.tcp_flags);
}

bool is_gateways_own(const EngineOptions& options, const IpAddress& address) noexcept {
  return address == options.translation_ipv4 || address == options.translation_ipv6 || options.tunnel.is_ours(address);
}

// Of a client that is in neither cluster: a foreign load balancer speaks for those of whom nothing is known but that
// the underlay routes them. Nobody's identity is lent so, and nothing of the fleet is answered to.
bool is_unknown_outsider(const DecisionInput& in, const End& client, const IpAddress& address) noexcept {
  return !client.published && is_native(in, address) && in.snapshot.peers->find(address) == kNoPeer &&
         !is_vip(in, address);
}

// Our own pods send by themselves, past all load balancers.
bool speaks_for(const DecisionInput& in, ClusterId balancer, const End& client, const IpAddress& address) noexcept {
  const ClusterId own = in.tables.options.cluster;
  if (client.cluster == kNoCluster || client.cluster == own || is_gateways_own(in.tables.options, address)) {
    return false;
  }
  return balancer == own || balancer == client.cluster || is_unknown_outsider(in, client, address);
}

Refusal check_parties(const DecisionInput& in, const Decision& decision, const End& client) noexcept {
  const ClusterId balancer = balancer_of(in, decision);
  if (!(*in.snapshot.clusters)[balancer].linked) {
    return DropReason::kNotLinked;
  }
  return speaks_for(in, balancer, client, decision.forward->source()) ? Refusal{} : DropReason::kSourceOutsideCluster;
}

// Which no service has. IPv4: this network, loopback (RFC 1122 section 3.2.1.3), link-local (RFC 3927), multicast, and
// what is kept for later (RFC 1112 section 4), the broadcast address included. IPv6: ::/8, where unspecified, loopback
// and the forms of IPv4 addresses are, link-local and site-local (RFC 4291 section 2.5), multicast.
bool is_never_a_service(const IpAddress& address) noexcept {
  constexpr std::uint8_t kThisNetwork = 0, kLoopback = 127, kFirstMulticast = 0xe0, kMulticast6 = 0xff;
  const auto& bytes = address.bytes();
  if (address.is_ipv4()) {
    const std::uint8_t first = bytes[12];
    return first == kThisNetwork || first == kLoopback || first >= kFirstMulticast ||
           (first == 169 && bytes[13] == 254);
  }
  return bytes[0] == 0 || bytes[0] == kMulticast6 || (bytes[0] == 0xfe && (bytes[1] & 0x80) != 0);
}

// Ours, or that of a tunnel end, a next hop, an endpoint or a node that the hubs have published: something answers
// there itself.
bool is_somebody(const DecisionInput& in, const IpAddress& address) noexcept {
  if (is_gateways_own(in.tables.options, address) || in.snapshot.aliases.is_alias(address) ||
      in.snapshot.peers->find(address) != kNoPeer || in.tables.adjacencies.knows(address)) {
    return true;
  }
  const IpAddress known = fleet_form(in.snapshot, address);
  const Realm realm = in.facts.key.realm;
  EndpointInfo endpoint;
  return in.tables.endpoints.find(realm, known, address_hash(realm, known), endpoint);
}

// The name's word comes last. Where there is no room for it, the decision holds for some seconds only.
void depend_on_name(const DecisionInput& in, Decision& decision) noexcept {
  constexpr std::uint32_t kHoldSeconds = 5;
  const std::uint64_t hash = address_hash(in.facts.key.realm, fleet_form(in.snapshot, decision.asked.address));
  if (decision.depends.count < kEpochsPerBlock) {
    in.tables.epochs.depend_once(decision.depends, EpochTable::of_address(hash));
  } else {
    decision.valid_until = Seconds{in.facts.now.value() + kHoldSeconds};
  }
}

// Nobody's, or an address of the load balancer's own cluster, where it may be a VIP but nothing else.
Refusal check_name(const DecisionInput& in, Decision& decision) noexcept {
  const IpAddress name = decision.asked.address;
  depend_on_name(in, decision);
  FlowKey answer = decision.forward->reversed();
  if (name.is_ipv4() != (answer.family == Family::kIpv4) || decision.asked.port == Be16{} || is_never_a_service(name) ||
      is_somebody(in, name)) {
    return DropReason::kDsrOption;
  }
  answer.set_source(name);
  if (check_header(in.tables.options, answer, Direction::kReply)) {
    return DropReason::kDsrOption;
  }
  const ClusterId owner = in.snapshot.clusters->cluster_of(in.facts.key.realm, fleet_form(in.snapshot, name));
  const bool may_be = owner == balancer_of(in, decision) || (owner == kNoCluster && !is_vip(in, name));
  return may_be ? Refusal{} : DropReason::kDsrOption;
}

// Some service has it, as hubs and manifests say. Not any port of a pod: of what a pod opens itself, the replies would
// be taken for a client's packets.
bool is_served(const DecisionInput& in, const Decision& decision) noexcept {
  const FlowKey& reply = *decision.reply;
  return in.snapshot.is_backend({reply.realm, reply.source(), reply.protocol, L4Port{reply.source_port.host()}});
}

// Anybody may begin anew what has ended.
bool has_ended(const SlowContext& context, const Connection& connection) noexcept {
  return connection.closing() || context.shared.flows->expires_in(connection, context.now) == 0;
}

// Of a packet with an option. What a load balancer has opened is its cluster's: another service in the option begins
// another connection. Somebody else's connection stays until it has ended, with two exceptions: to our own cluster's
// load balancer yields what one of another cluster has opened and nobody has answered, and to any that may send for the
// client what only looked like an answer to it.
DsrClaim claim_by_option(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  const ConnectionShared& shared = hit.shared();
  const ClusterId own = context.shared.options.cluster;
  const ClusterId sender = (*context.snapshot->peers)[packet.origin.peer()].cluster;
  const ClusterId opener = balancer_of(shared, own);
  const bool balanced = (shared.user_flags() & kDsrFlag) != 0, forward = hit.direction == Direction::kForward;
  const bool opens = opens_by_itself(packet);
  if (balanced && forward && opener == sender) {
    const DirectionBlock* reply = context.shared.flows->block(*hit.connection, Direction::kReply);
    const bool same =
        reply != nullptr && dsr_service(packet) == ServiceAddress{reply->source(packet.family), reply->source_port};
    return same ? DsrClaim::kStands : opens ? DsrClaim::kBeginsAnew : DsrClaim::kIntrudes;
  }
  const bool unanswered =
      forward && !hit.connection->opened() && (balanced ? sender == own : hit.connection->starts_with_answer());
  return opens && (unanswered || has_ended(context, *hit.connection)) ? DsrClaim::kBeginsAnew : DsrClaim::kIntrudes;
}

// Of one without, in a connection that an option has opened. The client itself asks for no service: by a SYN, or by UDP
// that does not come as the load balancer's does. And a backend that sends a SYN answers nothing.
DsrClaim claim_without(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  const bool tcp = packet.key.protocol == IpProtocol::kTcp, asks = tcp && tcp_flag::is_opening(packet.tcp_flags);
  if (hit.direction == Direction::kReply) {
    return asks && !hit.connection->opened() ? DsrClaim::kBeginsAnew : DsrClaim::kStands;
  }
  const bool fabric = packet.origin.side() == Side::kFabric;
  const ClusterId sender = fabric ? (*context.snapshot->peers)[packet.origin.peer()].cluster : kNoCluster;
  const bool own = sender != kNoCluster && sender == balancer_of(hit.shared(), context.shared.options.cluster);
  if (tcp) {
    return asks ? DsrClaim::kBeginsAnew : own ? DsrClaim::kStands : DsrClaim::kIntrudes;
  }
  const bool as_balanced = own && packet.origin.vni().value() == identity::kWorld.value();
  return as_balanced ? DsrClaim::kStands : DsrClaim::kBeginsAnew;
}

}  // namespace

// An ICMP error is judged by the connection that it is about; later parts of a datagram follow their first one.
DsrClaim dsr_claim(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  const bool option = packet.dsr_words != 0;
  if ((!option && (hit.shared().user_flags() & kDsrFlag) == 0) || packet.icmp_error ||
      packet.fragment == Fragment::kLater) {
    return DsrClaim::kStands;
  }
  return option ? claim_by_option(context, packet, hit) : claim_without(context, packet, hit);
}

Refusal check_dsr_sender(const DecisionInput& in, const Decision& decision, const PeerRecord& sender) noexcept {
  const PacketFacts& facts = in.facts;
  if (sender.cluster != balancer_of(in, decision)) {
    return DropReason::kSourceOutsideCluster;
  }
  if (const Refusal refusal = check_parties(in, decision, decision.source)) {
    return refusal;
  }
  if (facts.icmp_error) {
    return std::nullopt;
  }
  const bool asks = facts.key.protocol != IpProtocol::kTcp || tcp_flag::is_opening(facts.tcp_flags);
  const bool allowed = facts.origin.vni().value() == identity::kWorld.value() &&
                       (!decision.opens || (has_ports(facts.key.protocol) && asks));
  return allowed ? Refusal{} : DropReason::kDsrOption;
}

// Replies pass after their backend has left the service, as those of all connections do: what they answer does not.
Refusal check_dsr(const DecisionInput& in, Decision& decision) noexcept {
  const bool forward = decision.direction == Direction::kForward;
  const End& backend = forward ? decision.destination : decision.source;
  if (backend.cluster != in.tables.options.cluster) {  // nobody there knows the name in which it is to be answered
    return DropReason::kTransit;
  }
  if (forward) {
    if (!is_served(in, decision)) {
      return DropReason::kDsrOption;
    }
    return decision.opens ? check_name(in, decision) : std::nullopt;
  }
  const Refusal refusal = check_parties(in, decision, decision.destination);
  return refusal ? refusal : check_name(in, decision);
}

}  // namespace isthmus
