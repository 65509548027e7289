#include "dataplane/path/report.h"

#include <algorithm>

#include "dataplane/net/headers.h"

namespace isthmus {
namespace {

bool is_icmp(IpProtocol protocol) noexcept { return protocol == IpProtocol::kIcmp || protocol == IpProtocol::kIcmpv6; }

FlowEvent::Tuple tuple_of(const FlowKey& key) noexcept {
  FlowEvent::Tuple tuple{key.source, key.destination, {}, {}};
  if (!is_icmp(key.protocol)) {  // an echo's identifier is no port
    tuple.source_port = L4Port{key.source_port.host()};
    tuple.destination_port = L4Port{key.destination_port.host()};
  }
  return tuple;
}

TrafficDirection direction_of(Side from, bool reply) noexcept {
  return (from == Side::kLocal) != reply ? TrafficDirection::kEgress : TrafficDirection::kIngress;
}

// Drops of packets whose headers were not read to the end: of the packet only the frame may be looked at.
bool died_unread(DropReason reason) noexcept {
  switch (reason) {
    case DropReason::k_unsupported_l2:
    case DropReason::k_malformed:
    case DropReason::k_ip_fragment:
    case DropReason::k_unsupported_l4:
    case DropReason::k_unsupported_icmp:
    case DropReason::k_tunnel_header:
    case DropReason::k_unknown_peer:
      return true;
    default:
      return false;
  }
}

struct ReadableBytes {
  const std::uint8_t* at;
  const std::uint8_t* end;
  [[nodiscard]] bool holds(std::size_t bytes) const noexcept { return static_cast<std::size_t>(end - at) >= bytes; }
};

// Reads as much as is there of an IP packet. Returns where its L4 header begins, or null.
const std::uint8_t* read_packet(ReadableBytes bytes, FlowEvent& event) noexcept {
  std::size_t header = 0;
  bool fragment = false;
  if (bytes.holds(sizeof(net::Ipv4)) && bytes.at[0] >> 4 == 4) {
    const auto* ip = net::at<net::Ipv4>(bytes.at);
    event.received.source = IpAddress::ipv4(ip->source);
    event.received.destination = IpAddress::ipv4(ip->destination);
    event.protocol = static_cast<IpProtocol>(ip->protocol);
    event.bytes = ip->total_length.host();
    header = std::max<std::size_t>(ip->header_bytes(), sizeof(net::Ipv4));
    fragment = (ip->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0;
  } else if (bytes.holds(sizeof(net::Ipv6)) && bytes.at[0] >> 4 == 6) {
    const auto* ip = net::at<net::Ipv6>(bytes.at);
    event.received.source = IpAddress::ipv6(ip->source);
    event.received.destination = IpAddress::ipv6(ip->destination);
    event.protocol = static_cast<IpProtocol>(ip->next_header);
    event.bytes = static_cast<std::uint32_t>(sizeof(net::Ipv6)) + ip->payload_length.host();
    header = sizeof(net::Ipv6);
  }
  constexpr std::size_t kPorts = 4;
  if (header == 0 || fragment || !bytes.holds(header + kPorts)) {
    return nullptr;
  }
  const std::uint8_t* l4 = bytes.at + header;
  if (is_icmp(event.protocol)) {
    event.icmp_type = l4[0];
    event.icmp_code = l4[1];
  } else if (event.protocol == IpProtocol::kTcp || event.protocol == IpProtocol::kUdp ||
             event.protocol == IpProtocol::kSctp) {
    const auto* ports = net::at<net::Udp>(l4);
    event.received.source_port = L4Port{ports->source.host()};
    event.received.destination_port = L4Port{ports->destination.host()};
    if (event.protocol == IpProtocol::kTcp && bytes.holds(header + sizeof(net::Tcp))) {
      event.tcp_flags = net::at<net::Tcp>(l4)->flags;
    }
  }
  return l4;
}

// The packet inside a tunnel packet whose UDP header is at `l4`, if it is there and can be read.
bool read_inner(ReadableBytes bytes, const std::uint8_t* l4, FlowEvent& event) noexcept {
  constexpr std::size_t kInFront = sizeof(net::Udp) + sizeof(net::Vxlan) + sizeof(net::Ethernet);
  if (!ReadableBytes{l4, bytes.end}.holds(kInFront)) {
    return false;
  }
  FlowEvent inner = event;
  inner.received = {};
  inner.bytes = 0;
  read_packet({l4 + kInFront, bytes.end}, inner);
  if (inner.bytes == 0) {
    return false;
  }
  event = inner;
  return true;
}

// A frame that died before its headers were read to the end: what can be said of it. Of a tunnel packet that is the
// inner one, unless the outer one is at fault.
void read_frame(const PathContext& context, const Packet& packet, FlowEvent& event) noexcept {
  const ReadableBytes frame{packet.frame.data, packet.frame.data + packet.frame.length};
  if (!frame.holds(sizeof(net::Ethernet))) {
    return;
  }
  const std::uint8_t* l4 = read_packet({frame.at + sizeof(net::Ethernet), frame.end}, event);
  const auto& options = context.shared.options;
  if (l4 == nullptr || event.protocol != IpProtocol::kUdp || event.received.destination != options.tunnel_address ||
      event.received.destination_port != options.tunnel_port) {
    return;
  }
  event.from = Side::kFabric;
  const bool outer_fault = packet.reason == DropReason::k_unknown_peer || packet.reason == DropReason::k_tunnel_header;
  if (!outer_fault) {
    read_inner(frame, l4, event);
  }
}

// A frame as it was to leave: of one of our own tunnels, what is inside.
void read_finished(const PathContext& context, const Frame& frame, FlowEvent& event) noexcept {
  const ReadableBytes bytes{frame.data, frame.data + frame.length};
  if (!bytes.holds(sizeof(net::Ethernet))) {
    return;
  }
  const std::uint8_t* l4 = read_packet({bytes.at + sizeof(net::Ethernet), bytes.end}, event);
  const IpAddress source = event.received.source, destination = event.received.destination;
  const PeerId peer = context.snapshot->peers->find(destination);
  if (l4 != nullptr && event.protocol == IpProtocol::kUdp && source == context.shared.options.tunnel_address &&
      peer != kNoPeer && read_inner(bytes, l4, event)) {
    event.to = Side::kFabric;
    event.peer = peer;
    event.vni = Vni{net::at<net::Vxlan>(l4 + sizeof(net::Udp))->vni.host() >> 8};
  }
}

FlowEvent event_of(const PathContext& context, const Packet& packet, FlowVerdict verdict) noexcept {
  FlowEvent event;
  event.time_ns = context.now_ns;
  event.verdict = verdict;
  event.from = packet.side;
  event.protocol = packet.key.protocol;
  event.tcp_flags = packet.tcp_flags;
  event.received = tuple_of(packet.key);
  event.bytes = packet.ip_bytes;
  event.peer = packet.peer;
  event.vni = packet.vni;
  if (packet.icmp_error) {  // the key is the connection's that it reports on
    event.protocol = packet.family == Family::kIpv4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6;
    event.received.source_port = event.received.destination_port = L4Port{};
  }
  if (is_icmp(event.protocol)) {
    event.icmp_type = packet.l4[0];
    event.icmp_code = packet.l4[1];
  }
  return event;
}

void add(const PathContext& context, FlowEvent& event, const AdmissionNote& note) noexcept {
  const ClusterId own = context.shared.options.cluster;
  const bool passing_by =
      note.source_cluster != own && note.destination_cluster != own && note.destination_cluster != kNoCluster;
  event.direction = passing_by ? TrafficDirection::kUnknown : direction_of(event.from, note.reply);
  event.translated = note.translated.source.is_unspecified() ? event.received : note.translated;
  event.source_identity = note.source_identity;
  event.destination_identity = note.destination_identity;
  event.egress = note.egress;
  event.ingress = note.ingress;
  event.source_cluster = note.source_cluster;
  event.destination_cluster = note.destination_cluster;
  event.service = note.service;
}

FlowEvent unread_event(const PathContext& context, const Packet& packet) noexcept {
  FlowEvent event;
  event.time_ns = context.now_ns;
  event.verdict = FlowVerdict::kDropped;
  event.peer = packet.peer;
  event.vni = packet.vni;
  read_frame(context, packet, event);
  event.translated = event.received;
  return event;
}

// A packet whose headers were read: perhaps with a connection and a decision, perhaps without.
FlowEvent read_event(const PathContext& context, const Packet& packet, FlowVerdict verdict) noexcept {
  FlowEvent event = event_of(context, packet, verdict);
  event.translated = event.received;
  event.direction = direction_of(event.from, packet.hit && packet.hit.direction == Direction::kReply);
  if (packet.hit) {
    event.service = packet.hit.shared().service;
  }
  if (const DirectionBlock* block = packet.block; block != nullptr) {
    event.source_identity = block->source_identity;
    event.to = block->to;
    event.translated.source = block->source;
    event.translated.destination = block->destination;
    if (!is_icmp(event.protocol)) {
      event.translated.source_port = L4Port{block->source_port.host()};
      event.translated.destination_port = L4Port{block->destination_port.host()};
    }
  }
  return event;
}

// The first FIN or RST of its direction, before the connection has taken note of it.
bool closes(const Packet& packet) noexcept {
  using net::Tcp;
  if ((packet.tcp_flags & (Tcp::kFin | Tcp::kRst)) == 0 || !packet.hit) {
    return false;
  }
  const std::uint32_t seen = packet.hit.line().seen.load(std::memory_order_relaxed);
  return ((packet.tcp_flags & Tcp::kFin) != 0 && (seen & mark::kFin) == 0) ||
         ((packet.tcp_flags & Tcp::kRst) != 0 && (seen & mark::kRst) == 0);
}

std::uint64_t bit_of(const Burst& burst, const Packet& packet) noexcept {
  static_assert(kMaxBurst <= 64);
  return std::uint64_t{1} << (&packet - burst.packets.data());
}

}  // namespace

void AdmissionNote::take(const Admission& admission) noexcept {
  reply = admission.direction == Direction::kReply;
  translated = tuple_of(admission.other().reversed());
  source_identity = admission.source_identity;
  destination_identity = admission.destination_identity;
  egress = admission.egress;
  ingress = admission.ingress;
  source_cluster = admission.source_cluster;
  destination_cluster = admission.destination_cluster;
  out_peer = admission.block.encap_peer;
  const Hit& hit = admission.packet.hit;  // none behind an ICMP error that was let pass
  service = admission.frontend != nullptr ? admission.frontend->service
            : admission.existing && hit   ? hit.shared().service
                                          : kNoService;
}

void report_admitted(PathContext& context, const Packet& packet, const AdmissionNote& note) noexcept {
  const bool audited = !note.reply && (note.egress.outcome == PolicyOutcome::kAudited ||
                                       note.ingress.outcome == PolicyOutcome::kAudited);
  const FlowVerdict verdict = audited ? FlowVerdict::kAudited : FlowVerdict::kForwarded;
  if ((!note.first && !audited && !closes(packet)) || !context.flow_events.within_budget(verdict, context.now_ns)) {
    return;
  }
  FlowEvent event = event_of(context, packet, verdict);
  add(context, event, note);
  event.trace = note.reply ? TraceReason::kReply : note.first ? TraceReason::kNew : TraceReason::kEstablished;
  event.to = packet.block->to;
  if (event.peer == kNoPeer) {
    event.peer = note.out_peer;
  }
  context.flow_events.put(event);
}

void report_refused(PathContext& context, const Burst& burst, const Packet& packet,
                    const AdmissionNote& note) noexcept {
  context.refusals_told |= bit_of(burst, packet);
  if (!context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns)) {
    return;
  }
  FlowEvent event = event_of(context, packet, FlowVerdict::kDropped);
  add(context, event, note);
  event.drop_reason = static_cast<std::uint8_t>(packet.reason);
  context.flow_events.put(event);
}

void report_dropped(PathContext& context, const Burst& burst, const Packet& packet) noexcept {
  if (!died_unread(packet.reason)) {
    auto& counters =
        packet.side == Side::kLocal ? context.counters.drops_from_local : context.counters.drops_from_fabric;
    counters[static_cast<std::size_t>(packet.reason)].add(packet.frame.length);
  }
  const std::uint64_t bit = bit_of(burst, packet);
  if ((context.refusals_told & bit) != 0) {
    context.refusals_told &= ~bit;
    return;
  }
  if (!context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns)) {
    return;
  }
  FlowEvent event =
      died_unread(packet.reason) ? unread_event(context, packet) : read_event(context, packet, FlowVerdict::kDropped);
  event.drop_reason = static_cast<std::uint8_t>(packet.reason);
  context.flow_events.put(event);
}

void lose_frame(PathContext& context, const Frame& frame, DropReason reason) noexcept {
  context.counters.drop(reason, frame.length);
  if (context.flow_events.within_budget(FlowVerdict::kDropped, context.now_ns)) {
    FlowEvent event;
    event.time_ns = context.now_ns;
    event.verdict = FlowVerdict::kDropped;
    event.drop_reason = static_cast<std::uint8_t>(reason);
    read_finished(context, frame, event);
    event.translated = event.received;
    context.flow_events.put(event);
  }
  context.pool.release(frame.chunk);
}

void report_closing(PathContext& context, const Packet& packet) noexcept {
  if (!closes(packet) || !context.flow_events.within_budget(FlowVerdict::kForwarded, context.now_ns)) {
    return;
  }
  FlowEvent event = read_event(context, packet, FlowVerdict::kForwarded);
  event.trace = packet.hit.direction == Direction::kReply ? TraceReason::kReply : TraceReason::kEstablished;
  if (event.peer == kNoPeer) {
    event.peer = packet.block->encap_peer;
  }
  context.flow_events.put(event);
}

}  // namespace isthmus
