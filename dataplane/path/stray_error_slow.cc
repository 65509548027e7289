// What becomes of errors about connections that we do not know (slowpath/stray_error.cc), beyond a packet's own way.
#include <array>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/packet/parse.h"
#include "dataplane/path/forward.h"
#include "dataplane/report/report.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kQuotedL4 = 8;  // ports and TCP's sequence number, an echo's identifier: whom it is for

// What the message's second word says by its type; the rest of it is unused, or the length of a quote that has parts
// behind it (RFC 4884).
void clear_unused(std::uint8_t* message, Family family) noexcept {
  const auto* icmp = net::at<net::Icmp>(message);
  std::size_t from = 4, to = 4;  // the bytes that are kept
  if (family == Family::kIpv6) {
    to = icmp->type == net::icmp6::kPacketTooBig || icmp->type == net::icmp6::kParameter ? 8 : 4;
  } else if (icmp->type == net::icmp4::kUnreachable && icmp->code == net::icmp4::kCodeFragmentationNeeded) {
    from = 6, to = 8;
  } else if (icmp->type == net::icmp4::kParameter) {
    to = 5;
  }
  std::memset(message + 4, 0, from - 4);
  std::memset(message + to, 0, sizeof(net::Icmp) - to);
}

// Of a header without options, from which extension headers have been taken away: with `payload` bytes of the protocol
// behind it.
void make_plain(std::uint8_t* ip, Family family, IpProtocol protocol, std::uint32_t payload) noexcept {
  if (family == Family::kIpv6) {
    auto* header = net::at<net::Ipv6>(ip);
    header->next_header = static_cast<std::uint8_t>(protocol);
    header->payload_length = Be16::of(static_cast<std::uint16_t>(payload));
    return;
  }
  auto* header = net::at<net::Ipv4>(ip);
  header->version_ihl = 0x45;
  header->total_length = Be16::of(static_cast<std::uint16_t>(sizeof(net::Ipv4) + payload));
  header->checksum = Be16{};
  header->checksum = Be16::raw(net::checksum(ip, sizeof(net::Ipv4)));
}

// Bytes of L4 that the quoted packet had, as its header says; at least those that are quoted.
std::uint32_t quoted_payload(const std::uint8_t* quoted, Family family, std::uint32_t headers) noexcept {
  const std::uint32_t total = family == Family::kIpv4 ? net::at<net::Ipv4>(quoted)->total_length.host()
                                                      : static_cast<std::uint32_t>(sizeof(net::Ipv6)) +
                                                            net::at<net::Ipv6>(quoted)->payload_length.host();
  return total < headers + kQuotedL4 ? kQuotedL4 : total - headers;
}

// Leaves the error's IP and ICMP header, the quoted packet's IP header, and the beginning of its L4: no options, no
// extension headers, no data. False: its checksum is wrong.
bool cut_to_headers(Packet& packet) noexcept {
  if (!icmp_checksum_valid(packet)) {
    return false;
  }
  const bool v4 = packet.family == Family::kIpv4;
  const std::uint32_t header = v4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6);
  const std::uint8_t* const quoted = packet.l4 + sizeof(net::Icmp);
  const std::uint32_t quoted_headers = ip_header_bytes(quoted, packet.family);
  const std::uint32_t payload = quoted_payload(quoted, packet.family, quoted_headers);
  const std::uint32_t message = sizeof(net::Icmp) + header + kQuotedL4;

  std::array<std::uint8_t, 2 * sizeof(net::Ipv6) + sizeof(net::Icmp) + kQuotedL4> made;
  std::uint8_t* const icmp = made.data() + header;
  std::memcpy(made.data(), packet.ip, header);
  std::memcpy(icmp, packet.l4, sizeof(net::Icmp));
  std::memcpy(icmp + sizeof(net::Icmp), quoted, header);
  std::memcpy(icmp + sizeof(net::Icmp) + header, quoted + quoted_headers, kQuotedL4);
  make_plain(made.data(), packet.family, v4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6, message);
  make_plain(icmp + sizeof(net::Icmp), packet.family, packet.key.protocol, payload);
  clear_unused(icmp, packet.family);
  const std::uint64_t pseudo =
      v4 ? 0 : net::pseudo_header_sum(sender_of(packet), destination_of(packet), IpProtocol::kIcmpv6, message);
  net::at<net::Icmp>(icmp)->checksum = Be16{};
  net::at<net::Icmp>(icmp)->checksum = Be16::raw(net::checksum(icmp, message, pseudo));

  packet.l4 = packet.ip + header;
  packet.ip_bytes = header + message;
  std::memcpy(packet.ip, made.data(), packet.ip_bytes);
  return true;
}

// Whether only the gateway that its receiver's packets come through can tell what the error is about: the sender of
// what it quotes may have called a backend by a VIP.
bool may_be_by_service(const PathContext& context, const Packet& packet) noexcept {
  const FlowKey& key = packet.key;
  return !context.snapshot->is_outside(packet.origin, context.shared.options.cluster) &&
         packet.block->encap_peer != kNoPeer &&
         context.snapshot->is_backend({key.realm, key.source(), key.protocol, L4Port{key.source_port.host()}});
}

// The error by another gateway of the cluster that it goes to.
void send_copy(PathContext& context, Forwarder& forwarder, const Packet& packet, PeerId gateway,
               Frame& frame) noexcept {
  frame.data = context.pool.chunk_start(frame.chunk) + kFrameHeadroom;
  frame.length = static_cast<std::uint32_t>(sizeof(net::Ethernet)) + packet.ip_bytes;
  Packet copy = packet;
  copy.frame = &frame;
  copy.ip = frame.data + sizeof(net::Ethernet);
  copy.l4 = copy.ip + (packet.l4 - packet.ip);
  std::memcpy(frame.data, packet.ip - sizeof(net::Ethernet), frame.length);
  const PeerRecord& peer = (*context.snapshot->peers)[gateway];
  DirectionBlock there = *packet.block;
  there.encap_peer = gateway;
  there.adjacency = peer.adjacency;
  there.mtu = mtu_behind(context.shared.adjacencies, there.device, peer);
  if (!forwarder(copy, there)) {
    drop_frame(context, frame, copy.reason);
  }
}

}  // namespace

void prepare_stray_error(PathContext& context, Forwarder& forwarder, Packet& packet) noexcept {
  if (!cut_to_headers(packet)) {
    packet.drop(DropReason::kIcmpInvalid);
    return;
  }
  context.counters.icmp_stray.add();
  if (!may_be_by_service(context, packet)) {
    return;
  }
  const PeerId chosen = packet.block->encap_peer;
  const ClusterId cluster = (*context.snapshot->peers)[chosen].cluster;
  for (const PeerId gateway : (*context.snapshot->clusters)[cluster].gateways) {
    if (gateway == chosen || !context.stray_limits.take(packet, cluster, context.now_ns)) {
      continue;
    }
    Frame frame;
    frame.chunk = context.pool.allocate();
    if (frame.chunk == kNoChunk) {
      return;
    }
    context.counters.icmp_copied.add();
    send_copy(context, forwarder, packet, gateway, frame);
  }
}

}  // namespace isthmus
