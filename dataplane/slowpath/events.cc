// What flow events tell of decisions.
#include "dataplane/net/headers.h"
#include "dataplane/packet/parse.h"
#include "dataplane/slowpath/admit.h"

namespace isthmus {

PacketFacts facts_of(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  PacketFacts facts(packet.key, packet.origin, context.now);
  facts.tcp_flags = packet.tcp_flags;
  facts.icmp_error = packet.icmp_error;
  if (packet.icmp_error) {
    facts.reporter = sender_of(packet);
  }
  if (packet.dsr_words != 0) [[unlikely]] {
    facts.dsr = true;
    facts.asked = dsr_service(packet);
  }
  facts.intrudes = hit && dsr_claim(context, packet, hit) == DsrClaim::kIntrudes;
  facts.connection = hit.connection;
  facts.direction = hit.direction;
  facts.current = hit.block;
  return facts;
}

namespace {

bool opened_by_sender(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  const ConnectionShared& shared = hit.shared();
  if (packet.origin.side() != Side::kFabric || shared.from != Side::kFabric || hit.connection->starts_with_answer()) {
    return false;
  }
  const ClusterId opener = shared.cluster != kNoCluster ? shared.cluster : context.shared.options.cluster;
  return (*context.snapshot->peers)[packet.origin.peer()].cluster == opener;
}

}  // namespace

// Without an option: a SYN asks for no service, and so does UDP of somebody else, because a load balancer's has one.
// Parts of a datagram follow their first one.
DsrClaim dsr_claim(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  const bool balanced = (hit.shared().user_flags() & kDsrFlag) != 0, option = packet.dsr_words != 0;
  if ((!balanced && !option) || hit.direction != Direction::kForward || packet.icmp_error ||
      packet.fragment == Fragment::kLater) {
    return DsrClaim::kStands;
  }
  const bool own = opened_by_sender(context, packet, hit);
  if (!option) {
    const bool tcp = packet.key.protocol == IpProtocol::kTcp;
    const bool anew = tcp ? tcp_flag::is_opening(packet.tcp_flags) : !own;
    return anew ? DsrClaim::kBeginsAnew : own ? DsrClaim::kStands : DsrClaim::kIntrudes;
  }
  if (!own) {
    return DsrClaim::kIntrudes;
  }
  const DirectionBlock* reply = context.shared.flows->block(*hit.connection, Direction::kReply);
  const bool same = balanced && reply != nullptr &&
                    dsr_service(packet) == ServiceAddress{reply->source(packet.family), reply->source_port};
  return same ? DsrClaim::kStands : DsrClaim::kBeginsAnew;
}

FlowEventContext event_of(const Decision& decision, bool first) noexcept {
  FlowEventContext event;
  event.first = first;
  event.reply = decision.direction == Direction::kReply;
  event.translated = reverse_tuple_of(decision.other());
  event.source_identity = decision.source_identity;
  event.destination_identity = decision.destination_identity;
  event.egress = decision.egress_policy;
  event.ingress = decision.ingress_policy;
  event.source_cluster = decision.source.cluster;
  event.destination_cluster = decision.destination.cluster;
  event.out_peer = decision.refused ? kNoPeer : decision.egress.peer;
  event.service = decision.frontend != nullptr ? decision.frontend->service : kNoService;
  return event;
}

// The decision is made again, without the caches, because the block does not hold all that an event tells; at most as
// often as the budget for events allows. A reply that closes has been reported already.
void report_first_reply(SlowContext& context, const Packet& packet) noexcept {
  constexpr std::uint8_t kEnds = net::Tcp::kFin | net::Tcp::kRst;
  if ((packet.tcp_flags & kEnds) != 0 || !wants_admitted_event(context, packet, true, false)) {
    return;
  }
  const Hit hit = context.shared.flows->hit(packet.line);
  decide(*context.snapshot, context.tables, facts_of(context, packet, hit), {}, context.decision);
  put_admitted_event(context, packet, event_of(context.decision, true));
}

}  // namespace isthmus
