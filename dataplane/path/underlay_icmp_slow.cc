// What routers of the underlay say of our own packets. Only one message matters, that a tunnel packet was too long for
// the path: control learns the path's MTU from it, after it has made sure (control/health/path_mtu.h), for anybody may
// send such a message. It must quote what we do send: from our tunnel address to a peer's address and port, longer than
// what it says the path carries.
#include "dataplane/net/checksum.h"
#include "dataplane/path/decap.h"

namespace isthmus {
namespace {

// The start of a packet of ours, as quoted.
struct Quote {
  IpAddress from, to;
  std::uint32_t bytes = 0;  // of the whole packet
  const std::uint8_t* udp = nullptr;
};

// An unfragmented UDP packet of the family at `ip`, of which UDP's header is there too.
bool read_quote(const std::uint8_t* ip, std::uint32_t bytes, Family family, Quote& quote) noexcept {
  constexpr auto kUdp = static_cast<std::uint8_t>(IpProtocol::kUdp);
  if (family == Family::kIpv4) {
    const auto* header = net::at<net::Ipv4>(ip);
    if (bytes < sizeof(net::Ipv4) + sizeof(net::Udp) || header->version_ihl != 0x45 || header->protocol != kUdp ||
        (header->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0) {
      return false;
    }
    quote = {IpAddress::ipv4(header->source), IpAddress::ipv4(header->destination), header->total_length.host(),
             ip + sizeof(net::Ipv4)};
    return true;
  }
  const auto* header = net::at<net::Ipv6>(ip);
  if (bytes < sizeof(net::Ipv6) + sizeof(net::Udp) || ip[0] >> 4 != 6 || header->next_header != kUdp) {
    return false;
  }
  quote = {IpAddress::ipv6(header->source), IpAddress::ipv6(header->destination),
           static_cast<std::uint32_t>(sizeof(net::Ipv6)) + header->payload_length.host(), ip + sizeof(net::Ipv6)};
  return true;
}

// The ICMP message of a packet to one of our tunnel addresses, if it says that a packet was too long. `bytes`: from
// there to the end of the packet.
const std::uint8_t* too_big_for_us(const Packet& packet, const TunnelEnds& ends, std::uint32_t& bytes) noexcept {
  const bool v4 = packet.family == Family::kIpv4;
  const auto* ipv4 = net::at<net::Ipv4>(packet.ip);
  const auto* ipv6 = net::at<net::Ipv6>(packet.ip);
  const std::uint8_t protocol = v4 ? ipv4->protocol : ipv6->next_header;
  const std::uint32_t header = v4 ? ipv4->header_bytes() : static_cast<std::uint32_t>(sizeof(net::Ipv6));
  if (static_cast<IpProtocol>(protocol) != (v4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6) ||
      packet.ip_bytes < header + sizeof(net::Icmp) ||
      (v4 && (ipv4->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0) ||
      !ends.is_ours(v4 ? IpAddress::ipv4(ipv4->destination) : IpAddress::ipv6(ipv6->destination))) {
    return nullptr;
  }
  const auto* icmp = net::at<net::Icmp>(packet.ip + header);
  bytes = packet.ip_bytes - header;
  const bool too_big = v4 ? icmp->type == net::icmp4::kUnreachable && icmp->code == net::icmp4::kCodeFragmentationNeeded
                          : icmp->type == net::icmp6::kPacketTooBig;
  return too_big ? packet.ip + header : nullptr;
}

bool intact(const Packet& packet, const std::uint8_t* icmp, std::uint32_t bytes) noexcept {
  std::uint64_t pseudo = 0;
  if (packet.family == Family::kIpv6) {
    const auto* ip = net::at<net::Ipv6>(packet.ip);
    pseudo = net::pseudo_header_sum(IpAddress::ipv6(ip->source), IpAddress::ipv6(ip->destination), IpProtocol::kIcmpv6,
                                    bytes);
  }
  return net::checksum(icmp, bytes, pseudo) == 0;
}

// The peer that the quoted packet was sent to, as we send them; kNoPeer: it is none of ours.
PeerId quoted_peer(const PathContext& context, const Quote& quote) noexcept {
  const PeerTable& peers = *context.snapshot->peers;
  const PeerId id = context.shared.options.tunnel.is_ours(quote.from) ? peers.find(quote.to) : kNoPeer;
  if (id == kNoPeer) {
    return kNoPeer;
  }
  const OuterHeader& header = peers[id].header;
  const std::size_t at =
      sizeof(net::Ethernet) + (header.underlay == Family::kIpv4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
  const auto* sent = net::at<net::Udp>(header.bytes.data() + at);
  const auto* udp = net::at<net::Udp>(quote.udp);
  const std::uint16_t port = udp->source.host();
  return sent->destination.host() == udp->destination.host() && encap::entropy_port(port).host() == port ? id : kNoPeer;
}

std::uint32_t mtu_in(const std::uint8_t* icmp, Family family) noexcept {
  Be32 rest;
  std::memcpy(&rest, icmp + 4, sizeof rest);
  return family == Family::kIpv4 ? rest.host() & 0xffff : rest.host();
}

}  // namespace

bool take_underlay_error(PathContext& context, Packet& packet) noexcept {
  std::uint32_t bytes = 0;
  const std::uint8_t* const icmp = too_big_for_us(packet, context.shared.options.tunnel, bytes);
  if (icmp == nullptr) {
    return false;
  }
  Quote quote;
  const std::uint32_t mtu = mtu_in(icmp, packet.family);
  const bool good = intact(packet, icmp, bytes) &&
                    read_quote(icmp + sizeof(net::Icmp), bytes - static_cast<std::uint32_t>(sizeof(net::Icmp)),
                               packet.family, quote) &&
                    quote.bytes > mtu;
  const PeerId peer = good ? quoted_peer(context, quote) : kNoPeer;
  if (peer == kNoPeer) {
    packet.drop(DropReason::kIcmpInvalid);
    return true;
  }
  context.counters.path_mtu_claims.add();
  if (context.output.path_mtu_claims.take(peer.value(), context.now_ns)) {
    context.mailbox.post({WorkerEvent::Kind::kPathMtu,
                          {},
                          sender_of(packet),
                          peer,
                          mtu,
                          false,
                          net::at<net::Udp>(quote.udp)->source.host()});
  }
  context.pool.release(packet.frame->chunk);
  packet.verdict = Verdict::kConsumed;
  return true;
}

}  // namespace isthmus
