// What flow events tell of decisions.
#include "dataplane/net/headers.h"
#include "dataplane/packet/parse.h"
#include "dataplane/slowpath/admit.h"
#include "dataplane/slowpath/openings.h"

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
  if (hit && hit.shared().direct_return) [[unlikely]] {
    facts.forward_block = context.shared.flows->block(*hit.connection, Direction::kForward);
  }
  return facts;
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
  tell_first_reply(context, packet);
  constexpr std::uint8_t kEnds = net::Tcp::kFin | net::Tcp::kRst;
  if ((packet.tcp_flags & kEnds) != 0 || !wants_admitted_event(context, packet, true, false)) {
    return;
  }
  const Hit hit = context.shared.flows->hit(packet.line);
  decide(*context.snapshot, context.tables, facts_of(context, packet, hit), {}, context.decision);
  put_admitted_event(context, packet, event_of(context.decision, true));
}

}  // namespace isthmus
