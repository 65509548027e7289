// ICMP errors of the gateway about what a load balancer has sent by a DSR option. Its client has to know, of the
// service that it asked: the error goes by the decision for the replies, which writes that into it as into an error of
// the backend's own.
#include "dataplane/path/forward.h"
#include "dataplane/report/report.h"

namespace isthmus {
namespace {

// The decision for its replies, if a load balancer has opened the packet's connection.
struct Balanced {
  bool balanced = false;
  const DirectionBlock* block = nullptr;  // nullptr: none that holds
  const FlowKey* key = nullptr;
};

Balanced balanced_replies(const PathContext& context, const Packet& packet) noexcept {
  const FlowTable& flows = *context.shared.flows;
  const Hit hit = flows.hit(packet.line);
  if (!hit || hit.direction != Direction::kForward || (hit.shared().user_flags() & kDsrFlag) == 0) {
    return {};
  }
  const DirectionBlock* block = flows.block(*hit.connection, Direction::kReply);
  const bool holds = block != nullptr && flows.epochs().is_current(*block);
  return {true, holds ? block : nullptr, &hit.connection->line(Direction::kReply).key};
}

}  // namespace

void tell_sender(PathContext& context, const Packet& packet, IcmpError what, Bytes mtu) noexcept {
  const Balanced replies = balanced_replies(context, packet);
  if (!replies.balanced) {
    send_icmp_error(context.output, packet, what, mtu);
    return;
  }
  if (replies.block == nullptr) {  // until a reply has shown where they go now
    return;
  }
  std::optional<Frame> frame = make_icmp_error(context.output, packet, what, mtu, Bytes{replies.block->mtu});
  if (!frame) {
    return;
  }
  Packet error;
  error.begin();
  error.frame = &*frame;
  error.family = packet.family;
  error.icmp_error = error.unusual = true;
  error.key = *replies.key;
  error.ip = frame->data + sizeof(net::Ethernet);
  error.ip_bytes = frame->length - static_cast<std::uint32_t>(sizeof(net::Ethernet));
  error.l4 = error.ip + (packet.family == Family::kIpv4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
  Forwarder forwarder(context);
  if (!forwarder(error, *replies.block)) {
    drop_frame(context, *frame, error.reason);
    return;
  }
  context.counters.icmp_sent.add();
}

}  // namespace isthmus
