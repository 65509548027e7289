#include <algorithm>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/path/fragments.h"
#include "dataplane/report/report.h"

namespace isthmus {
namespace {

using Step = FragmentOutcome::Step;

constexpr std::uint8_t kEcnBits = 3, kUnmarked = 1 << 0, kMarked = 1 << 3;  // fields 0 (Not-ECT) and 3 (CE)

// A length that a fragment cannot have: RFC 791 section 3.2, RFC 8200 section 4.5.
bool impossible(const Packet& packet, const FragmentPart& part) noexcept {
  const auto headers = static_cast<std::uint32_t>(part.data - packet.ip);
  const std::uint32_t end = part.offset + part.bytes + (packet.family == Family::kIpv4 ? headers : 0);
  return part.bytes == 0 || (part.more && part.bytes % 8 != 0) || end > DatagramParts::kLongest;
}

void consume(PathContext& context, Packet& packet) noexcept {
  context.pool.release(packet.frame->chunk);
  packet.verdict = Verdict::kConsumed;
}

void drop_lost(PathContext& context, const LostFragments& lost) noexcept {
  KeptFragments& kept = context.shared.fragments.kept();
  for (std::uint32_t place = lost.list; place != kNoPlace; place = kept[place].next) {
    drop_kept(context, kept[place], lost.reason);
  }
  kept.release(lost.list);
}

// What has waited for a first fragment goes on with its ports, behind the burst.
void replay_later(PathContext& context, std::uint32_t list, const DatagramPorts& ports) noexcept {
  KeptFragments& kept = context.shared.fragments.kept();
  while (list != kNoPlace) {
    KeptFragment& waited = kept[list];
    waited.source_port = ports.source;
    waited.destination_port = ports.destination;
    waited.protocol = ports.protocol;
    const std::uint32_t next = waited.next;
    waited.next = context.replayed;
    context.replayed = list;
    list = next;
  }
}

void set_ports(FlowKey& key, Be16 source, Be16 destination, IpProtocol protocol) noexcept {
  key.source_port = source;
  key.destination_port = destination;
  key.protocol = protocol;
}

// The packet as parse left it when it came, but for the ports, in a frame of this worker. False: it is dropped.
bool restore(PathContext& context, const KeptFragment& kept, Packet& packet) noexcept {
  Origin origin = kept.origin;
  if (origin.side() == Side::kFabric) {  // numbers of peers may have changed meanwhile
    origin = Origin(context.snapshot->peers->find(kept.peer), origin.vni());
  }
  const bool gone = origin.side() == Side::kFabric && origin.peer() == kNoPeer;
  const bool fits = kept.length <= context.pool.max_frame();
  const std::uint32_t chunk = gone || !fits ? kNoChunk : context.pool.allocate_for(kept.length);
  if (chunk == kNoChunk) {
    drop_kept(context, kept, gone ? DropReason::kUnknownPeer : DropReason::kFragmentLimit);
    return false;
  }
  Frame& frame = *packet.frame;
  frame.chunk = chunk;
  frame.data = context.pool.chunk_start(chunk) + kFrameHeadroom;
  frame.length = kept.length;
  std::memcpy(frame.data, kept.bytes + kept.start, kept.length);
  packet.begin();
  packet.unusual = true;
  packet.origin = origin;
  packet.bucket = FlowTable::empty_bucket();
  std::optional<DropReason> drop = parse_ethernet(packet, frame.data);
  if (!drop) {
    drop = parse_flow(packet, context.shared.options.realm);
  }
  if (drop) {  // it has been parsed before
    packet.drop(*drop);
    return true;
  }
  set_ports(packet.key, kept.source_port, kept.destination_port, kept.protocol);
  prefetch_connection(*context.shared.flows, packet);
  context.counters.fragments.add();
  return true;
}

std::uint8_t traffic_class(const Packet& packet) noexcept {
  return packet.family == Family::kIpv4
             ? net::at<net::Ipv4>(packet.ip)->tos
             : static_cast<std::uint8_t>(net::at<net::Ipv6>(packet.ip)->version_class_flow.host() >> 20);
}

// The headers of a tunnel packet that has been put together, as if it had never been in parts: nobody reads the IPv4
// header's checksum again. False: the underlay has marked congestion, and a part could not bear the mark (RFC 3168
// section 5.3).
bool make_whole(std::uint8_t* ip, Family family, std::uint32_t bytes, std::uint8_t ecn_seen) noexcept {
  const bool marked = (ecn_seen & kMarked) != 0;
  if (marked && (ecn_seen & kUnmarked) != 0) {
    return false;
  }
  if (family == Family::kIpv4) {
    auto* header = net::at<net::Ipv4>(ip);
    header->total_length = Be16::of(static_cast<std::uint16_t>(bytes));
    header->fragment = Be16{};
    header->tos = static_cast<std::uint8_t>(header->tos | (marked ? kEcnBits : 0));
    return true;
  }
  auto* header = net::at<net::Ipv6>(ip);
  header->payload_length = Be16::of(static_cast<std::uint16_t>(bytes - sizeof(net::Ipv6)));
  header->next_header = static_cast<std::uint8_t>(IpProtocol::kUdp);
  header->version_class_flow =
      Be32::of(header->version_class_flow.host() | (marked ? std::uint32_t{kEcnBits} << 20 : 0));
  return true;
}

// Puts the whole tunnel packet into the frame of its last fragment.
std::optional<DropReason> complete(PathContext& context, Packet& packet, const FragmentOutcome& outcome) noexcept {
  KeptFragments& places = context.shared.fragments.kept();
  const KeptFragment& whole = places[outcome.list];
  Frame& frame = *packet.frame;
  const bool fits = whole.length <= context.pool.max_frame(frame.chunk);
  if (fits) {
    frame.data = context.pool.chunk_start(frame.chunk) + kFrameHeadroom;
    frame.length = whole.length;
    std::memcpy(frame.data, whole.bytes + whole.start, whole.length);
  }
  context.counters.fragments_joined.add(whole.frames);
  context.counters.assembled.add();
  places.release(outcome.list);
  constexpr auto kEthernet = static_cast<std::uint32_t>(sizeof(net::Ethernet));
  if (!fits) {
    return DropReason::kFragmentTooLong;
  }
  if (!make_whole(frame.data + kEthernet, packet.family, frame.length - kEthernet, outcome.ecn_seen)) {
    return DropReason::kEcnNotCapable;
  }
  return parse_ethernet(packet, frame.data);
}

}  // namespace

std::optional<DropReason> follow_datagram(PathContext& context, Packet& packet) noexcept {
  const auto part = fragment_part(packet);
  if (!part) {
    return std::nullopt;
  }
  if (context.shared.options.fragments == 0) {
    return DropReason::kIpFragment;
  }
  if (impossible(packet, *part)) {
    return DropReason::kFragmentInvalid;
  }
  FragmentTable& table = context.shared.fragments;
  const DatagramKey key{packet.key.source(), packet.key.destination(), packet.origin, part->id,
                        packet.key.realm,    part->protocol,           false};
  FragmentOutcome outcome;
  if (packet.fragment == Fragment::kFirst) {
    const DatagramPorts ports{packet.key.source_port, packet.key.destination_port, packet.key.protocol};
    outcome = table.first(key, *part, ports, charged_to(packet), context.now_ns);
  } else {
    ArrivedFragment arrived;
    const std::uint8_t* const start = packet.ip - sizeof(net::Ethernet);
    arrived.frame = {start, sizeof(net::Ethernet) + packet.ip_bytes};
    arrived.frame_bytes = packet.frame->length;
    arrived.origin = packet.origin;
    arrived.device = context.arrived_on;
    if (packet.origin.side() == Side::kFabric) {
      arrived.peer = (*context.snapshot->peers)[packet.origin.peer()].underlay;
    }
    outcome = table.later(key, *part, arrived, charged_to(packet), context.now_ns);
  }
  drop_lost(context, outcome.lost);
  switch (outcome.step) {
    case Step::kForward:
      context.counters.fragments.add();
      set_ports(packet.key, outcome.ports.source, outcome.ports.destination, outcome.ports.protocol);
      replay_later(context, outcome.list, outcome.ports);
      return std::nullopt;
    case Step::kKept:
      context.counters.fragments_kept.add();
      consume(context, packet);
      return std::nullopt;
    default:
      return outcome.reason;
  }
}

bool is_tunnel_fragment(const PathContext& context, const TunnelMatch& match, const Packet& packet) noexcept {
  return match.is_udp_to_us(packet) && fragment_part(packet) &&
         context.snapshot->peers->find(sender_of(packet)) != kNoPeer;
}

void take_off_atomic_header(const TunnelMatch& match, Packet& packet) noexcept {
  if (packet.family != Family::kIpv6 || !match.is_udp_to_us(packet)) {
    return;
  }
  constexpr std::uint16_t kPart = net::Ipv6Fragment::kOffset | net::Ipv6Fragment::kMoreFragments;
  if ((net::at<net::Ipv6Fragment>(packet.ip + sizeof(net::Ipv6))->fragment.host() & kPart) != 0) {
    return;
  }
  constexpr auto kBytes = static_cast<std::uint32_t>(sizeof(net::Ipv6Fragment));
  constexpr std::size_t kBefore = sizeof(net::Ethernet) + sizeof(net::Ipv6);
  Frame& frame = *packet.frame;
  std::memmove(frame.data + kBytes, frame.data, kBefore);
  frame.data += kBytes;
  frame.length -= kBytes;
  packet.ip += kBytes;
  packet.ip_bytes -= kBytes;
  auto* header = net::at<net::Ipv6>(packet.ip);
  header->next_header = static_cast<std::uint8_t>(IpProtocol::kUdp);
  header->payload_length = Be16::of(static_cast<std::uint16_t>(packet.ip_bytes - sizeof(net::Ipv6)));
}

std::optional<DropReason> assemble_tunnel(PathContext& context, const TunnelMatch& match, Packet& packet) noexcept {
  const auto part = fragment_part(packet);
  if (!part || context.shared.options.fragments == 0) {
    return DropReason::kIpFragment;
  }
  if (impossible(packet, *part) || (part->offset == 0 && part->bytes < sizeof(net::Udp))) {
    return DropReason::kFragmentInvalid;
  }
  FragmentTable& table = context.shared.fragments;
  const IpAddress source = sender_of(packet);
  const Realm realm = context.shared.options.realm;
  const DatagramKey key{source, destination_of(packet), packet.origin, part->id, realm, part->protocol, true};
  if (part->offset == 0 && !match.is_port(part->data)) {
    drop_lost(context, table.refuse(key, DropReason::kIpFragment, address_hash(realm, source), context.now_ns));
    return DropReason::kIpFragment;
  }
  ArrivedFragment arrived;
  arrived.frame_bytes = packet.frame->length;
  arrived.peer = source;
  arrived.origin = packet.origin;
  arrived.device = context.arrived_on;
  const std::size_t ip_header = packet.family == Family::kIpv4 ? ip_header_bytes(packet.ip, Family::kIpv4)
                                                               : sizeof(net::Ipv6);  // without that of the fragment
  const std::span<const std::uint8_t> headers{packet.frame->data, sizeof(net::Ethernet) + ip_header};
  const FragmentOutcome outcome =
      table.assemble(key, *part, arrived, headers, static_cast<std::uint8_t>(traffic_class(packet) & kEcnBits),
                     address_hash(realm, source), context.now_ns);
  drop_lost(context, outcome.lost);
  switch (outcome.step) {
    case Step::kComplete:
      return complete(context, packet, outcome);
    case Step::kKept:
      consume(context, packet);
      return std::nullopt;
    default:
      return outcome.reason;
  }
}

bool take_replayed(PathContext& context, Burst& burst) noexcept {
  KeptFragments& places = context.shared.fragments.kept();
  burst.count = 0;
  while (context.replayed != kNoPlace && burst.count < kMaxBurst) {
    const std::uint32_t place = context.replayed;
    KeptFragment& kept = places[place];
    if (burst.count != 0 && kept.device != burst.device) {
      break;  // a burst is of one device
    }
    burst.device = context.arrived_on = kept.device;
    context.replayed = kept.next;
    kept.next = kNoPlace;
    burst.count += restore(context, kept, burst.packets[burst.count]) ? 1 : 0;
    places.release(place);
  }
  return burst.count != 0;
}

void expire_fragments(PathContext& context) noexcept {
  constexpr std::uint64_t kPeriodNs = 1'000'000'000, kMost = 1024;  // buckets at once
  FragmentTable& table = context.shared.fragments;
  if (table.now() == 0) {
    return;
  }
  const std::uint64_t since = std::min(context.now_ns - context.fragments_expired_ns, kPeriodNs);
  const std::uint64_t due = std::min(since * table.buckets() / kPeriodNs, kMost);
  if (due != 0) {
    context.fragments_expired_ns = context.now_ns;
  }
  for (std::uint64_t i = 0; i < due; ++i) {
    context.fragment_bucket = (context.fragment_bucket + 1) & (table.buckets() - 1);
    drop_lost(context, table.expire(context.fragment_bucket, context.now_ns));
  }
}

}  // namespace isthmus
