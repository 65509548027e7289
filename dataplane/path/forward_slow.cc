// The parts of forward that few packets need: drops, and packets that open or close connections.
#include "dataplane/originate/output.h"
#include "dataplane/path/forward.h"
#include "dataplane/report/report.h"

namespace isthmus {

void finish_drop(PathContext& context, const Burst& burst, Packet& packet) noexcept {
  if (packet.reason == DropReason::kNoLiveBackend) {
    send_icmp_error(context.output, packet, IcmpError::kPortUnreachable);
  }
  context.counters.drop(packet.reason, packet.frame->length);
  report_dropped(context, burst, packet);
  context.pool.release(packet.frame->chunk);
}

bool Forwarder::forward_unsendable(Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.ip_bytes > block.mtu) {
    return block.mtu == 0 ? forward_with_option(packet, block) : forward_too_long(packet, block);
  }
  drop_expired(context_, packet);
  return false;
}

bool Forwarder::operator()(Packet& packet, const DirectionBlock& block) noexcept {
  if ((block.flags & DirectionBlock::kDsrOption) != 0) [[unlikely]] {
    return forward_with_option(packet, block);
  }
  if (packet.ip_bytes > block.mtu) {
    return forward_too_long(packet, block);
  }
  if (!rewrite(context_, packet, block)) {
    return false;
  }
  if ((packet.tcp_flags & net::Tcp::kSyn) != 0) {
    clamp_segments(context_, packet, block);
  }
  account_any(packet);
  return send_any(packet, block);
}

void Forwarder::account_any(const Packet& packet) noexcept {
  if (packet.line != nullptr && context_.shared.flows->account_packet(context_.worker, *packet.line, context_.now,
                                                                      Bytes{packet.ip_bytes}, packet.tcp_flags)) {
    report_first_reply(context_, packet);
  }
}

bool Forwarder::send_any(Packet& packet, const DirectionBlock& block) noexcept {
  if ((block.flags & DirectionBlock::kTunnel) == 0) {
    write_local_type(packet.ip, packet.family);
    tally_.local_bytes += packet.ip_bytes;
    return send(packet, block, sizeof(net::Ethernet));
  }
  return tunnel_other(packet, block, peers_[block.encap_peer].header);
}

bool Forwarder::tunnel_other(Packet& packet, const DirectionBlock& block, const OuterHeader& header) noexcept {
  if (header.size == 0) {
    packet.drop(DropReason::kNoLiveGateway);
    return false;
  }
  push_header(header, packet, block, packet.family, ip_id_++);
  const bool takes = (block.flags & DirectionBlock::kDsrOption) != 0;
  const std::uint32_t option = takes ? push_option(packet, block, header) : 0;
  ++tally_.encapsulated;
  tally_.fabric_bytes += packet.ip_bytes;
  return send(packet, block, header.size + option);
}

bool keep_waiting(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept {
  if (context.shared.adjacencies.resolved(block.adjacency)) {
    packet.drop(DropReason::kTxFull);
    return false;
  }
  if (wait_for_mac(context.output, *packet.frame, block.adjacency, charged_to(packet))) {
    return true;
  }
  packet.drop(DropReason::kNeighbourUnresolved);
  return false;
}

bool usable_for_special(PathContext& context, const Packet& packet) noexcept {
  // An ICMP error may come from a router or node on the path, so the slow path always checks it. A SYN may open a new
  // connection with the same key; the slow path checks that its backend still accepts new ones.
  if (packet.icmp_error || (packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kAck)) == net::Tcp::kSyn) {
    return false;
  }
  if (packet.dsr_words != 0 &&
      dsr_claim(context, packet, context.shared.flows->hit(packet.line)) != DsrClaim::kStands) {
    return false;
  }
  report_closing(context, packet);
  return true;
}

}  // namespace isthmus
