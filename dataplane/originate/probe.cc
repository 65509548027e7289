// Health probes between gateways, inside the tunnel: UDP from one tunnel address to the other, with VNI 4 (health). The
// workers answer them, so an answer proves that the peer's engine is running and not merely that its node is up.
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/originate/output.h"

namespace isthmus {
namespace {

constexpr std::uint16_t kProbePort = 4239;
constexpr std::uint32_t kMagic = 0x49535450;  // "ISTP"
constexpr std::uint8_t kVersion = 1, kRequest = 1, kAnswer = 2;

struct Probe {
  net::Wire32 magic;
  std::uint8_t version;
  std::uint8_t kind;
  net::Wire16 zero;
  net::Wire32 sequence;
};
static_assert(sizeof(Probe) == 12);

constexpr std::uint32_t kUdpBytes = sizeof(net::Udp) + sizeof(Probe);
constexpr std::uint32_t kIpBytes = sizeof(net::Ipv4) + kUdpBytes;

void transmit(Output& output, PeerId peer, std::uint8_t kind, Be32 sequence) noexcept {
  const PeerRecord& record = (*output.worker.snapshot->peers)[peer];
  const std::uint32_t chunk = record.known() ? output.worker.pool.allocate() : kNoChunk;
  if (chunk == kNoChunk) {
    return;
  }
  Frame frame;
  frame.chunk = chunk;
  frame.data = output.worker.pool.chunk_start(chunk) + kFrameHeadroom;
  std::uint8_t* start = frame.data + sizeof(net::Ethernet);
  *net::at<net::Ipv4>(start) = net::Ipv4{};
  auto* ip = net::at<net::Ipv4>(start);
  ip->version_ihl = 0x45;
  ip->total_length = Be16::of(kIpBytes);
  ip->ttl = 64;
  ip->protocol = static_cast<std::uint8_t>(IpProtocol::kUdp);
  ip->source = output.worker.shared.options.tunnel_address.as_ipv4();
  ip->destination = record.underlay.as_ipv4();
  ip->checksum = Be16::raw(net::checksum(start, sizeof(net::Ipv4)));

  auto* udp = net::at<net::Udp>(start + sizeof(net::Ipv4));
  udp->source = Be16::of(kProbePort);
  udp->destination = Be16::of(kProbePort);
  udp->length = Be16::of(kUdpBytes);
  udp->checksum = Be16{};
  auto* probe = net::at<Probe>(start + sizeof(net::Ipv4) + sizeof(net::Udp));
  *probe = {Be32::of(kMagic), kVersion, kind, Be16{}, sequence};
  const std::uint64_t pseudo =
      net::pseudo_header_sum(output.worker.shared.options.tunnel_address, record.underlay, IpProtocol::kUdp, kUdpBytes);
  udp->checksum = Be16::raw(net::checksum(start + sizeof(net::Ipv4), kUdpBytes, pseudo));

  if (push_tunnel(output, frame, start, kIpBytes, Family::kIpv4, peer, Vni{identity::kHealth.value()}, kProbePort)) {
    output.worker.pool.release(chunk);
    return;
  }
  send_frame(output, frame, record.adjacency);
}

}  // namespace

void send_probe(Output& output, PeerId peer, std::uint32_t sequence) noexcept {
  transmit(output, peer, kRequest, Be32::of(sequence));
}

void handle_probe(Output& output, Packet& packet) noexcept {
  const auto* probe = net::at<Probe>(packet.l4 + sizeof(net::Udp));
  const bool well_formed = packet.key.protocol == IpProtocol::kUdp && packet.ip_bytes >= kIpBytes &&
                           packet.l4 + kUdpBytes <= packet.ip + packet.ip_bytes &&
                           packet.key.destination_port.host() == kProbePort && probe->magic.host() == kMagic &&
                           probe->version == kVersion;
  const bool from_sender = packet.key.source() == (*output.worker.snapshot->peers)[packet.origin.peer()].underlay;
  if (!well_formed || !from_sender || (probe->kind != kRequest && probe->kind != kAnswer)) {
    packet.drop(DropReason::kProbe);
    return;
  }
  if (probe->kind == kRequest) {
    transmit(output, packet.origin.peer(), kAnswer, probe->sequence);
    output.worker.counters.probes_answered.add();
  } else {
    output.worker.mailbox.post({WorkerEvent::Kind::kProbeAnswer, {}, {}, packet.origin.peer(), probe->sequence.host()});
  }
  output.worker.pool.release(packet.frame->chunk);
  packet.verdict = Verdict::kConsumed;
}

}  // namespace isthmus
