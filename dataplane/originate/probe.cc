// Health probes between gateways, inside the tunnel: UDP from one tunnel address to the other, with VNI 4 (health). The
// workers answer them, so an answer proves that the peer's engine is running and not merely that its node is up.
//
// | bytes | field | value |
// |---|---|---|
// | 0-3 | magic | "ISTP" |
// | 4 | version | 1 |
// | 5 | kind | 1 request, 2 answer, 3 answer of a gateway that is drained |
// | 6-7 | flags of a request, else 0 | 1: understands kind 3; 2: another gateway of the asked one's cluster answers it
// | | 8-11 | sequence | the request's own, which its answer repeats |
//
// A peer that sends flags of 0 does not know of kind 3, and is not answered by a gateway that is drained: to it, that
// one looks gone. An answer of either kind counts once, and only to a probe that was sent to that peer, from its
// address; so nobody else's answer takes a gateway out of use.
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/originate/output.h"

namespace isthmus {
namespace {

constexpr std::uint16_t kProbePort = 4239;
constexpr std::uint32_t kMagic = 0x49535450;  // "ISTP"
constexpr std::uint8_t kVersion = 1, kRequest = 1, kAnswer = 2, kDrainingAnswer = 3;
constexpr std::uint16_t kUnderstandsDraining = 1, kHasAnother = 2;

struct Probe {
  net::Wire32 magic;
  std::uint8_t version;
  std::uint8_t kind;
  net::Wire16 flags;
  net::Wire32 sequence;
};
static_assert(sizeof(Probe) == 12);

constexpr std::uint32_t kUdpBytes = sizeof(net::Udp) + sizeof(Probe);

// Writes the IP header of a UDP datagram of that length at `at`. Returns its length in bytes.
std::uint32_t write_ip(const IpAddress& from, const IpAddress& to, std::uint32_t udp_bytes, std::uint8_t* at) noexcept {
  constexpr auto kUdp = static_cast<std::uint8_t>(IpProtocol::kUdp);
  if (to.is_ipv4()) {
    auto* ip = net::at<net::Ipv4>(at);
    *ip = net::Ipv4{};
    ip->version_ihl = 0x45;
    ip->total_length = Be16::of(static_cast<std::uint16_t>(sizeof(net::Ipv4) + udp_bytes));
    ip->ttl = 64;
    ip->protocol = kUdp;
    ip->source = from.as_ipv4();
    ip->destination = to.as_ipv4();
    ip->checksum = Be16::raw(net::checksum(at, sizeof(net::Ipv4)));
    return sizeof(net::Ipv4);
  }
  auto* ip = net::at<net::Ipv6>(at);
  constexpr std::uint32_t kVersion6 = 0x60000000;
  ip->version_class_flow = Be32::of(kVersion6);
  ip->payload_length = Be16::of(static_cast<std::uint16_t>(udp_bytes));
  ip->next_header = kUdp;
  ip->hop_limit = 64;
  std::memcpy(ip->source, from.bytes().data(), sizeof ip->source);
  std::memcpy(ip->destination, to.bytes().data(), sizeof ip->destination);
  return sizeof(net::Ipv6);
}

struct Outside {
  std::uint32_t bytes = 0;  // of the outer IP packet, to be filled with zeros; 0: as many as it needs
  std::uint16_t way = 0;    // the outer port's entropy
};

void transmit(Output& output, PeerId peer, std::uint8_t kind, std::uint16_t flags, Be32 sequence,
              const Outside& outside = {}) noexcept {
  const PeerRecord& record = (*output.worker.snapshot->peers)[peer];
  if (!record.known()) {
    return;
  }
  const Family family = record.underlay.family();
  const IpAddress& from = output.worker.shared.options.tunnel.address(family);
  const auto ip_bytes = static_cast<std::uint32_t>(family == Family::kIpv4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
  const std::uint32_t least = record.header.overhead + ip_bytes + kUdpBytes;
  const std::uint32_t padding = outside.bytes > least ? outside.bytes - least : 0;
  const auto frame_bytes = static_cast<std::uint32_t>(sizeof(net::Ethernet)) + least + padding;
  const std::uint32_t chunk =
      frame_bytes <= output.worker.pool.max_frame() ? output.worker.pool.allocate_for(frame_bytes) : kNoChunk;
  if (chunk == kNoChunk) {
    return;
  }
  Frame frame;
  frame.chunk = chunk;
  frame.data = output.worker.pool.chunk_start(chunk) + kFrameHeadroom;
  std::uint8_t* start = frame.data + sizeof(net::Ethernet);
  const std::uint32_t udp_bytes = kUdpBytes + padding;
  const std::uint32_t header = write_ip(from, record.underlay, udp_bytes, start);
  std::memset(start + header + kUdpBytes, 0, padding);
  auto* udp = net::at<net::Udp>(start + header);
  udp->source = Be16::of(kProbePort);
  udp->destination = Be16::of(kProbePort);
  udp->length = Be16::of(static_cast<std::uint16_t>(udp_bytes));
  udp->checksum = Be16{};
  *net::at<Probe>(start + header + sizeof(net::Udp)) = {Be32::of(kMagic), kVersion, kind, Be16::of(flags), sequence};
  const std::uint64_t pseudo = net::pseudo_header_sum(from, record.underlay, IpProtocol::kUdp, udp_bytes);
  const std::uint16_t checksum = net::checksum(start + header, kUdpBytes, pseudo);  // the padding is zero
  udp->checksum = Be16::raw(checksum == 0 ? 0xffff : checksum);

  if (push_tunnel(output, frame, start, header + udp_bytes, family, peer, Vni{identity::kHealth.value()},
                  outside.way)) {
    output.worker.pool.release(chunk);
    return;
  }
  send_frame(output, frame, record.adjacency);
}

// Those of sizes have numbers of their own.
OutstandingProbes& outstanding(Output& output, std::uint32_t sequence) noexcept {
  SharedState& shared = output.worker.shared;
  return (sequence & kSizedProbe) != 0 ? shared.sized_probes : shared.probes;
}

void answer(Output& output, PeerId peer, std::uint16_t flags, Be32 sequence) noexcept {
  if ((sequence.host() & kSizedProbe) != 0) {  // of the path, and not of this gateway
    transmit(output, peer, kAnswer, 0, sequence);
    output.worker.counters.probes_answered.add();
    return;
  }
  const bool understands = (flags & kUnderstandsDraining) != 0;
  output.worker.shared.heard_probes.heard(peer, !understands                 ? ProbeSaid::kNothing
                                                : (flags & kHasAnother) != 0 ? ProbeSaid::kAnother
                                                                             : ProbeSaid::kNoOther);
  if (!output.worker.shared.draining.load(std::memory_order_relaxed)) {
    transmit(output, peer, kAnswer, 0, sequence);
    output.worker.counters.probes_answered.add();
    return;
  }
  if (understands) {
    transmit(output, peer, kDrainingAnswer, 0, sequence);
  }
  output.worker.counters.probes_left.add();
}

}  // namespace

void send_probe(Output& output, const ProbeCommand& probe) noexcept {
  outstanding(output, probe.sequence).sent(probe.peer, probe.sequence);
  const auto flags = static_cast<std::uint16_t>(kUnderstandsDraining | (probe.another ? kHasAnother : 0));
  transmit(output, probe.peer, kRequest, flags, Be32::of(probe.sequence), {probe.bytes.value(), probe.way});
}

void handle_probe(Output& output, Packet& packet) noexcept {
  const auto* probe = net::at<Probe>(packet.l4 + sizeof(net::Udp));
  const bool well_formed =
      packet.key.protocol == IpProtocol::kUdp && packet.l4 + kUdpBytes <= packet.ip + packet.ip_bytes &&
      packet.key.destination_port.host() == kProbePort && probe->magic.host() == kMagic && probe->version == kVersion;
  const bool from_sender = packet.key.source() == (*output.worker.snapshot->peers)[packet.origin.peer()].underlay;
  if (!well_formed || !from_sender || probe->kind < kRequest || probe->kind > kDrainingAnswer) {
    packet.drop(DropReason::kProbe);
    return;
  }
  if (probe->kind == kRequest) {
    answer(output, packet.origin.peer(), probe->flags.host(), probe->sequence);
  } else {
    const std::uint32_t sequence = probe->sequence.host();
    if (!outstanding(output, sequence).take(packet.origin.peer(), sequence)) {
      packet.drop(DropReason::kProbe);
      return;
    }
    output.worker.mailbox.post(
        {WorkerEvent::Kind::kProbeAnswer, {}, {}, packet.origin.peer(), sequence, probe->kind == kDrainingAnswer});
  }
  output.worker.pool.release(packet.frame->chunk);
  packet.verdict = Verdict::kConsumed;
}

}  // namespace isthmus
