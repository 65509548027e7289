#include "dataplane/report/report.h"

#include "dataplane/packet/header_chain.h"

#include <algorithm>

#include "dataplane/encap/encap.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/echo.h"

namespace isthmus {
namespace {

TrafficDirection direction_of(Side from, bool reply) noexcept {
  return (from == Side::kLocal) != reply ? TrafficDirection::kEgress : TrafficDirection::kIngress;
}

// Whether the cause lies in the tunnel's own headers, so that those are reported and not the inner packet.
bool outer_header_bad(DropReason reason) noexcept {
  switch (reason) {
    case DropReason::kTunnelHeader:
    case DropReason::kTunnelControl:
    case DropReason::kTunnelOption:
    case DropReason::kTunnelKind:
    case DropReason::kTunnelChecksum:
    case DropReason::kUnknownPeer:
      return true;
    default:
      return false;
  }
}

// Whether the packet was dropped before its headers were completely parsed: then only its frame is valid.
bool dropped_unparsed(DropReason reason) noexcept {
  switch (reason) {
    case DropReason::kUnsupportedL2:
    case DropReason::kMalformed:
    case DropReason::kIpFragment:
    case DropReason::kFragmentInvalid:
    case DropReason::kFragmentOverlap:
    case DropReason::kFragmentTimeout:
    case DropReason::kFragmentLimit:
    case DropReason::kFragmentTooLong:
    case DropReason::kUnsupportedL4:
    case DropReason::kSourceRoute:
    case DropReason::kExtensionHeaders:
    case DropReason::kUnsupportedIcmp:
      return true;
    default:
      return outer_header_bad(reason);
  }
}

struct ReadableBytes {
  const std::uint8_t* at;
  const std::uint8_t* end;
  [[nodiscard]] bool has(std::size_t bytes) const noexcept { return static_cast<std::size_t>(end - at) >= bytes; }
};

// Reads as much of an IP packet as is there. Returns its L4 header, or nullptr if that cannot be read.
const std::uint8_t* read_packet(ReadableBytes bytes, FlowEvent& event) noexcept {
  std::size_t header = 0;
  bool fragment = false;
  if (bytes.has(sizeof(net::Ipv4)) && bytes.at[0] >> 4 == 4) {
    const auto* ip = net::at<net::Ipv4>(bytes.at);
    event.received.source = IpAddress::ipv4(ip->source);
    event.received.destination = IpAddress::ipv4(ip->destination);
    event.protocol = static_cast<IpProtocol>(ip->protocol);
    event.bytes = ip->total_length.host();
    header = std::max<std::size_t>(ip->header_bytes(), sizeof(net::Ipv4));
    fragment = (ip->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0;
  } else if (bytes.has(sizeof(net::Ipv6)) && bytes.at[0] >> 4 == 6) {
    const auto* ip = net::at<net::Ipv6>(bytes.at);
    event.received.source = IpAddress::ipv6(ip->source);
    event.received.destination = IpAddress::ipv6(ip->destination);
    HeaderChain chain;  // as far as it can be read
    static_cast<void>(read_chain(bytes.at, static_cast<std::uint32_t>(bytes.end - bytes.at), chain));
    event.protocol = chain.protocol;
    event.bytes = static_cast<std::uint32_t>(sizeof(net::Ipv6)) + ip->payload_length.host();
    header = chain.bytes;
    fragment = chain.fragment == Fragment::kLater;
  }
  constexpr std::size_t kPorts = 4;
  if (header == 0 || fragment || !bytes.has(header + kPorts)) {
    return nullptr;
  }
  const std::uint8_t* l4 = bytes.at + header;
  if (is_icmp(event.protocol)) {
    event.icmp_type = l4[0];
    event.icmp_code = l4[1];
  } else if (has_ports(event.protocol)) {
    const auto* ports = net::at<net::Udp>(l4);
    event.received.source_port = L4Port{ports->source.host()};
    event.received.destination_port = L4Port{ports->destination.host()};
    if (event.protocol == IpProtocol::kTcp && bytes.has(header + sizeof(net::Tcp))) {
      event.tcp_flags = net::at<net::Tcp>(l4)->flags;
    }
  }
  return l4;
}

// Replaces the event's packet by the inner one of a tunnel packet of this kind whose UDP header is at `l4`. False if it
// cannot be read.
bool read_inner(ReadableBytes bytes, EncapsulationKind kind, const std::uint8_t* l4, FlowEvent& event) noexcept {
  const std::uint8_t* const header = l4 + sizeof(net::Udp);
  encap::Tunnelled tunnelled;
  if (encap::parse(kind, header, bytes.end, tunnelled)) {
    return false;
  }
  FlowEvent inner = event;
  inner.vni = tunnelled.vni;
  inner.received = {};
  inner.bytes = 0;
  read_packet({header + tunnelled.inner + sizeof(net::Ethernet), bytes.end}, inner);
  if (inner.bytes == 0) {
    return false;
  }
  event = inner;
  return true;
}

// Fills in the event from a frame that was dropped before its headers were completely parsed. For a tunnel packet that
// is the inner packet, unless the outer header was the cause.
void read_frame(const WorkerContext& context, const Packet& packet, FlowEvent& event) noexcept {
  const ReadableBytes frame{packet.frame->data, packet.frame->data + packet.frame->length};
  if (!frame.has(sizeof(net::Ethernet))) {
    return;
  }
  const std::uint8_t* l4 = read_packet({frame.at + sizeof(net::Ethernet), frame.end}, event);
  const TunnelEnds& ends = context.shared.options.tunnel;
  if (l4 == nullptr || event.protocol != IpProtocol::kUdp || !ends.is_ours(event.received.destination) ||
      !ends.is_port(event.received.destination_port)) {
    return;
  }
  event.from = Side::kFabric;
  if (!outer_header_bad(packet.reason)) {
    const Vni vni = event.vni;  // as decap has it, if it came that far
    const PeerTable& peers = *context.snapshot->peers;
    read_inner(frame, peers[peers.find(event.received.source)].from_kind, l4, event);
    event.vni = vni;
  }
}

// Fills in the event from a complete outgoing frame; for a frame in one of our tunnels, from its inner packet.
void read_outgoing(const WorkerContext& context, const Frame& frame, FlowEvent& event) noexcept {
  const ReadableBytes bytes{frame.data, frame.data + frame.length};
  if (!bytes.has(sizeof(net::Ethernet))) {
    return;
  }
  const std::uint8_t* l4 = read_packet({bytes.at + sizeof(net::Ethernet), bytes.end}, event);
  const IpAddress source = event.received.source, destination = event.received.destination;
  const PeerId peer = context.snapshot->peers->find(destination);
  if (l4 != nullptr && event.protocol == IpProtocol::kUdp && context.shared.options.tunnel.is_ours(source) &&
      peer != kNoPeer && read_inner(bytes, (*context.snapshot->peers)[peer].header.kind, l4, event)) {
    event.to = Side::kFabric;
    event.peer = peer;
  }
}

std::uint8_t echo_type(const FlowKey& key) noexcept {
  const bool request = is_echo_request(key.source_port, key.destination_port);
  return key.family == Family::kIpv4 ? (request ? net::icmp4::kEchoRequest : net::icmp4::kEchoReply)
                                     : (request ? net::icmp6::kEchoRequest : net::icmp6::kEchoReply);
}

FlowEvent event_of(const WorkerContext& context, const Packet& packet, FlowVerdict verdict) noexcept {
  FlowEvent event;
  event.time_ns = context.now_ns;
  event.verdict = verdict;
  event.from = packet.origin.side();
  event.protocol = packet.key.protocol;
  event.tcp_flags = packet.tcp_flags;
  event.received = tuple_of(packet.key);
  event.bytes = packet.ip_bytes;
  event.peer = packet.origin.peer();
  event.vni = packet.origin.vni();
  if (packet.icmp_error) {  // the key is that of the connection it reports on
    event.protocol = packet.family == Family::kIpv4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6;
    event.received.source_port = event.received.destination_port = L4Port{};
  }
  if (is_icmp(event.protocol) && packet.fragment == Fragment::kLater) {  // the ports are those of its first one
    event.icmp_type = echo_type(packet.key);
  } else if (is_icmp(event.protocol)) {
    event.icmp_type = packet.l4[0];
    event.icmp_code = packet.l4[1];
  }
  return event;
}

void add_context(const WorkerContext& context, FlowEvent& event, const FlowEventContext& event_context) noexcept {
  const ClusterId own = context.shared.options.cluster;
  const bool transit = event_context.source_cluster != own && event_context.destination_cluster != own &&
                       event_context.destination_cluster != kNoCluster;
  // A node's tunnel and native routing do not tell whose packet it is.
  const Side from = event_context.source_cluster == kNoCluster ? event.from
                    : event_context.source_cluster == own      ? Side::kLocal
                                                               : Side::kFabric;
  event.direction = transit ? TrafficDirection::kUnknown : direction_of(from, event_context.reply);
  event.translated = event_context.translated.source.is_unspecified() ? event.received : event_context.translated;
  event.source_identity = event_context.source_identity;
  event.destination_identity = event_context.destination_identity;
  event.egress = event_context.egress;
  event.ingress = event_context.ingress;
  event.source_cluster = event_context.source_cluster;
  event.destination_cluster = event_context.destination_cluster;
  event.service = event_context.service;
}

FlowEvent unparsed_event(const WorkerContext& context, const Packet& packet) noexcept {
  FlowEvent event;
  event.time_ns = context.now_ns;
  event.verdict = FlowVerdict::kDropped;
  event.peer = packet.origin.peer();
  event.vni = packet.origin.vni();
  read_frame(context, packet, event);
  event.translated = event.received;
  return event;
}

ServiceId service_of(const WorkerContext& context, const FlowKey& forward) noexcept {
  const FrontendKey key{forward.realm, forward.destination(), forward.protocol,
                        L4Port{forward.destination_port.host()}};
  return context.snapshot->service_of(key);
}

// For a packet that was parsed; it may or may not have a connection and a decision.
FlowEvent parsed_event(const WorkerContext& context, const Packet& packet, FlowVerdict verdict) noexcept {
  FlowEvent event = event_of(context, packet, verdict);
  event.translated = event.received;
  const Hit hit = context.shared.flows->hit(packet.line);
  event.direction = direction_of(event.from, hit && hit.direction == Direction::kReply);
  if (hit) {
    event.service = service_of(context, hit.connection->line(Direction::kForward).key);
  }
  if (const DirectionBlock* block = packet.block; block != nullptr) {
    event.source_identity = block->source_identity;
    event.to = block->to();
    event.translated.source = block->source(packet.family);
    event.translated.destination = block->destination(packet.family);
    if (!is_icmp(event.protocol)) {
      event.translated.source_port = L4Port{block->source_port.host()};
      event.translated.destination_port = L4Port{block->destination_port.host()};
    }
  }
  return event;
}

// Whether this is the first FIN or RST of its direction. Call before FlowTable::account_packet() records it.
bool closes(const Packet& packet) noexcept {
  using net::Tcp;
  if ((packet.tcp_flags & (Tcp::kFin | Tcp::kRst)) == 0 || packet.line == nullptr) {
    return false;
  }
  const std::uint32_t seen = packet.line->seen.load(std::memory_order_relaxed);
  return ((packet.tcp_flags & Tcp::kFin) != 0 && (seen & mark::kFin) == 0) ||
         ((packet.tcp_flags & Tcp::kRst) != 0 && (seen & mark::kRst) == 0);
}

std::uint64_t bit_of(const Burst& burst, const Packet& packet) noexcept {
  static_assert(kMaxBurst <= 64);
  return std::uint64_t{1} << (&packet - burst.packets.data());
}

}  // namespace

FlowEvent::Tuple tuple_of(const FlowKey& key) noexcept {
  FlowEvent::Tuple tuple{key.source(), key.destination(), {}, {}};
  if (!is_icmp(key.protocol)) {  // the identifier of an ICMP echo is not a port
    tuple.source_port = L4Port{key.source_port.host()};
    tuple.destination_port = L4Port{key.destination_port.host()};
  }
  return tuple;
}

bool wants_admitted_event(WorkerContext& context, const Packet& packet, bool first, bool audited) noexcept {
  const FlowVerdict verdict = audited ? FlowVerdict::kAudited : FlowVerdict::kForwarded;
  return (first || audited || closes(packet)) && context.flow_events.within_budget(verdict, context.now_ns);
}

void put_admitted_event(WorkerContext& context, const Packet& packet, const FlowEventContext& event_context) noexcept {
  const bool audited = !event_context.reply && (event_context.egress.outcome == PolicyOutcome::kAudited ||
                                                event_context.ingress.outcome == PolicyOutcome::kAudited);
  FlowEvent event = event_of(context, packet, audited ? FlowVerdict::kAudited : FlowVerdict::kForwarded);
  add_context(context, event, event_context);
  event.trace = event_context.reply   ? TraceReason::kReply
                : event_context.first ? TraceReason::kNew
                                      : TraceReason::kEstablished;
  event.to = packet.block->to();
  if (event.peer == kNoPeer) {
    event.peer = event_context.out_peer;
  }
  context.flow_events.put(event);
}

bool wants_drop_event(WorkerContext& context, const Burst& burst, const Packet& packet) noexcept {
  context.drops_reported |= bit_of(burst, packet);
  return context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns);
}

void put_drop_event(WorkerContext& context, const Packet& packet, const FlowEventContext& event_context) noexcept {
  FlowEvent event = event_of(context, packet, FlowVerdict::kDropped);
  add_context(context, event, event_context);
  event.drop_reason = static_cast<std::uint8_t>(packet.reason);
  context.flow_events.put(event);
}

FlowEvent::Tuple reverse_tuple_of(const FlowKey& key) noexcept {
  FlowEvent::Tuple tuple{key.destination(), key.source(), {}, {}};
  if (!is_icmp(key.protocol)) {
    tuple.source_port = L4Port{key.destination_port.host()};
    tuple.destination_port = L4Port{key.source_port.host()};
  }
  return tuple;
}

void report_dropped(WorkerContext& context, const Burst& burst, const Packet& packet) noexcept {
  if (!dropped_unparsed(packet.reason)) {
    auto& counters =
        packet.origin.side() == Side::kLocal ? context.counters.drops_from_local : context.counters.drops_from_fabric;
    counters[static_cast<std::size_t>(packet.reason)].add(packet.frame->length);
  }
  const std::uint64_t bit = bit_of(burst, packet);
  if ((context.drops_reported & bit) != 0) {
    context.drops_reported &= ~bit;
    return;
  }
  if (!context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns)) {
    return;
  }
  FlowEvent event = dropped_unparsed(packet.reason) ? unparsed_event(context, packet)
                                                    : parsed_event(context, packet, FlowVerdict::kDropped);
  event.drop_reason = static_cast<std::uint8_t>(packet.reason);
  context.flow_events.put(event);
}

void drop_frame(WorkerContext& context, const Frame& frame, DropReason reason) noexcept {
  context.counters.drop(reason, frame.length);
  if (context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns)) {
    FlowEvent event;
    event.time_ns = context.now_ns;
    event.verdict = FlowVerdict::kDropped;
    event.drop_reason = static_cast<std::uint8_t>(reason);
    read_outgoing(context, frame, event);
    event.translated = event.received;
    context.flow_events.put(event);
  }
  context.pool.release(frame.chunk);
}

void drop_kept(WorkerContext& context, const KeptFragment& kept, DropReason reason) noexcept {
  WorkerCounters::Drops& drops = context.counters.drops[static_cast<std::size_t>(reason)];
  drops.packets.add(kept.frames);
  drops.bytes.add(kept.frame_bytes);
  if (!context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns)) {
    return;
  }
  FlowEvent event;
  event.time_ns = context.now_ns;
  event.verdict = FlowVerdict::kDropped;
  event.drop_reason = static_cast<std::uint8_t>(reason);
  event.from = kept.origin.side();
  event.vni = kept.origin.vni();
  event.peer = context.snapshot->peers->find(kept.peer);
  if (kept.length > sizeof(net::Ethernet)) {  // of a tunnel packet, not before all of it is there
    const std::uint8_t* const frame = kept.bytes + kept.start;
    static_cast<void>(read_packet({frame + sizeof(net::Ethernet), frame + kept.length}, event));
  }
  event.translated = event.received;
  context.flow_events.put(event);
}

void report_closing(WorkerContext& context, const Packet& packet) noexcept {
  if (!closes(packet) || !context.flow_events.within_budget(FlowVerdict::kForwarded, context.now_ns)) {
    return;
  }
  FlowEvent event = parsed_event(context, packet, FlowVerdict::kForwarded);
  event.trace = context.shared.flows->hit(packet.line).direction == Direction::kReply ? TraceReason::kReply
                                                                                      : TraceReason::kEstablished;
  if (event.peer == kNoPeer) {
    event.peer = packet.block->encap_peer;
  }
  context.flow_events.put(event);
}

}  // namespace isthmus
