#include "dataplane/worker/flow_view.h"

#include "dataplane/conntrack/backend_of.h"
#include "dataplane/packet/echo.h"

namespace isthmus {
namespace {

PeerId peer_of(const FlowTable& flows, const Connection& connection, Direction direction) {
  const DirectionBlock* block = flows.block(connection, direction);
  return block == nullptr ? kNoPeer : block->encap_peer;
}

// As users know it: of an ICMP echo, the identifier at the end that asks, and 0 at the other.
L4Port port_of(const FlowKey& key, Be16 port) {
  const bool echo = key.protocol == IpProtocol::kIcmp || key.protocol == IpProtocol::kIcmpv6;
  const bool shown = !echo || port == echo_identifier(key.source_port, key.destination_port);
  return shown ? L4Port{port.host()} : L4Port{};
}

}  // namespace

void view_flows(const FlowTable& flows, unsigned reader, const Snapshot* snapshot,
                const std::function<bool(const FlowRecord&)>& visit) {
  const Seconds now = flows.now();
  flows.visit(reader, [&](const Connection& connection, std::uint32_t) {
    const FlowKey& forward = connection.line(Direction::kForward).key;
    const FlowKey& reply = connection.line(Direction::kReply).key;
    FlowRecord record;
    record.protocol = forward.protocol;
    record.client = forward.source();
    record.client_port = port_of(forward, forward.source_port);
    record.frontend = forward.destination();
    record.frontend_port = port_of(forward, forward.destination_port);
    record.backend = reply.source();
    record.backend_port = port_of(reply, reply.source_port);
    if (connection.shared.direct_return) {
      const auto backend = backend_of(connection, flows.block(connection, Direction::kForward));
      record.backend = backend.address.is_unspecified() ? record.backend : backend.address;
      record.backend_port = backend.address.is_unspecified() ? record.backend_port : backend.port;
    }
    record.translated_client = reply.destination();
    record.translated_client_port = port_of(reply, reply.destination_port);
    if (snapshot != nullptr && (forward.reversed() != reply || connection.shared.direct_return)) {  // through a VIP
      record.service = snapshot->service_of(
          {forward.realm, forward.destination(), forward.protocol, L4Port{forward.destination_port.host()}});
    }
    record.from = connection.shared.from;
    record.to = connection.shared.to;
    record.forward_peer = peer_of(flows, connection, Direction::kForward);
    record.reply_peer = peer_of(flows, connection, Direction::kReply);
    record.source_identity = connection.shared.source_identity;
    const LeaseCount there = flows.total(connection, Direction::kForward);
    const LeaseCount back = flows.total(connection, Direction::kReply);
    record.forward_packets = there.packets;
    record.forward_bytes = there.bytes;
    record.reply_packets = back.packets;
    record.reply_bytes = back.bytes;
    record.established = connection.opened();
    record.closing = connection.closing();
    record.forward_handed_down = flows.leases().holds(connection.shared, Direction::kForward);
    record.reply_handed_down = flows.leases().holds(connection.shared, Direction::kReply);
    record.idle_seconds = flows.idle(connection, now);
    record.expires_in_seconds = flows.expires_in(connection, now);
    return visit(record);
  });
}

std::uint64_t Engine::state_bytes(std::uint32_t connections) { return FlowMapping::bytes_for(connections); }

}  // namespace isthmus
