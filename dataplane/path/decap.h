// decap: for packets from the fabric side, finds the peer, the VNI and the inner packet. Whether that peer may send
// this source is checked by source validation in the slow path; an established flow's block names the origin it must
// have. One packet at a time, as part of parse.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "dataplane/encap/encap.h"
#include "dataplane/packet/parse.h"
#include "dataplane/path/context.h"

namespace isthmus {

// What makes a packet one of our tunnels': destination address and UDP port. Nearly every one is over IPv4 and of the
// kind that we announce, which matches() and plain() compare as it lies in the packet.
class TunnelMatch {
 public:
  explicit TunnelMatch(const TunnelEnds& ends) noexcept
      : ends_(ends),
        kind_(ends.kind),
        address_(ends.ipv4.as_ipv4()),
        port_(Be16::of(ends.port(kind_).value())),
        plain_(encap::kPlainHeaders[static_cast<std::size_t>(kind_)]) {}

  // For a packet whose Ethernet and IP headers have been parsed.
  [[nodiscard]] bool is_tunnel(const Packet& packet) const noexcept {
    constexpr auto kUdp = static_cast<std::uint8_t>(IpProtocol::kUdp);
    if (packet.family == Family::kIpv6) [[unlikely]] {
      const auto* ip = net::at<net::Ipv6>(packet.ip);
      return ip->next_header == kUdp && ends_.is_ours(IpAddress::ipv6(ip->destination)) &&
             packet.ip_bytes >= sizeof(net::Ipv6) + sizeof(net::Udp) && is_port(packet.ip + sizeof(net::Ipv6));
    }
    const auto* ip = net::at<net::Ipv4>(packet.ip);
    return ip->protocol == kUdp && ip->destination == address_ &&
           packet.ip_bytes >= ip->header_bytes() + sizeof(net::Udp) && is_port(packet.ip + ip->header_bytes());
  }
  // The same but for the port, which only the first one of fragments has.
  [[nodiscard]] bool is_udp_to_us(const Packet& packet) const noexcept {
    constexpr auto kUdp = static_cast<std::uint8_t>(IpProtocol::kUdp);
    if (packet.family == Family::kIpv4) {
      const auto* ip = net::at<net::Ipv4>(packet.ip);
      return ip->protocol == kUdp && ip->destination == address_;
    }
    const auto* ip = net::at<net::Ipv6>(packet.ip);
    return ip->next_header == static_cast<std::uint8_t>(IpProtocol::kIpv6Fragment) &&
           packet.ip_bytes >= sizeof(net::Ipv6) + sizeof(net::Ipv6Fragment) && packet.ip[sizeof(net::Ipv6)] == kUdp &&
           ends_.is_ours(IpAddress::ipv6(ip->destination));
  }
  // To either of our addresses, whatever it is.
  [[nodiscard]] bool is_ours(const Packet& packet) const noexcept { return ends_.is_ours(destination_of(packet)); }
  [[nodiscard]] bool is_port(const std::uint8_t* udp) const noexcept {
    return ends_.is_port(L4Port{net::at<net::Udp>(udp)->destination.host()});
  }

  // The eight bytes from the destination address of an IPv4 header without options to the UDP destination port.
  [[nodiscard]] bool matches(const std::uint8_t* destination) const noexcept {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::uint64_t kWithoutSourcePort = 0xffff0000ffffffff;
    std::uint64_t word = 0;
    std::memcpy(&word, destination, sizeof word);
    return (word & kWithoutSourcePort) == (address_.wire() | std::uint64_t{port_.wire()} << 48);
  }

  // Whether the eight bytes of a tunnel header are a plain one of kind().
  [[nodiscard]] bool plain(std::uint64_t header) const noexcept { return (header & plain_.mask) == plain_.value; }
  [[nodiscard]] EncapsulationKind kind() const noexcept { return kind_; }

 private:
  const TunnelEnds& ends_;
  EncapsulationKind kind_;
  Be32 address_;
  Be16 port_;
  encap::PlainHeader plain_;
};

// Any tunnel packet, for which is_tunnel() is true: sets origin, the inner packet and its key, and merges ECN. A probe
// is consumed. Returns the drop reason on failure. (decap_slow.cc)
[[nodiscard]] std::optional<DropReason> decapsulate(PathContext& context, Packet& packet) noexcept;

// A packet on the underlay that is no tunnel packet. True: it is an ICMP error of the underlay's about a tunnel packet
// of ours, from which the path's MTU is learned, and has been consumed or dropped. (underlay_icmp_slow.cc)
[[nodiscard]] bool take_underlay_error(PathContext& context, Packet& packet) noexcept;

// Whether the mark of the underlay changes that of the inner packet, if that is IPv4 (RFC 6040 section 4.2):
// congestion, or ECT(1) over ECT(0). `start`: the four bytes that end with the outer type of service.
[[nodiscard]] inline bool changes_ecn(std::uint32_t start, const std::uint8_t* inner_ethernet) noexcept {
  constexpr std::uint32_t kMask = 0x03000000, kEct1 = 0x01000000;
  constexpr std::uint8_t kInnerMask = 3, kInnerEct0 = 2;
  return (start & kEct1) != 0 &&
         ((start & kMask) == kMask ||
          (net::at<net::Ipv4>(inner_ethernet + sizeof(net::Ethernet))->tos & kInnerMask) == kInnerEct0);
}

// The same without the key for nearly every tunnel packet: a plain header of match.kind() over IPv4 without options or
// fragments, no congestion mark, a known peer of that kind, and an inner packet that parse_plain_ipv4() takes. False
// for anything else; the caller then uses decapsulate(), which also gives the drop reason.
[[nodiscard]] inline bool decapsulate_plain(PathContext& context, Packet& packet, Frame& frame,
                                            const TunnelMatch& match, LastPeer& last) noexcept {
  static_assert(std::endian::native == std::endian::little);
  constexpr std::size_t kIp = sizeof(net::Ethernet), kUdp = kIp + sizeof(net::Ipv4), kTunnel = kUdp + sizeof(net::Udp);
  constexpr std::size_t kInner = kTunnel + encap::kTunnelHeaderBytes;
  const std::uint8_t* const bytes = frame.data;
  if (frame.length < kInner + sizeof(net::Ethernet) + sizeof(net::Ipv4) + sizeof(net::Udp)) [[unlikely]] {
    return false;
  }
  // Ethernet type, version and header length; then flags, offset and protocol (the TTL between them is ignored).
  constexpr std::uint32_t kPlainIpv4 = 0x00450008, kPlainIpv4Mask = 0x00ffffff;
  constexpr std::uint32_t kWholeUdp = 0x11000000, kWholeUdpMask = 0xff00ff3f;
  std::uint32_t start = 0, middle = 0, source = 0;
  std::uint64_t tunnel = 0;
  std::memcpy(&start, bytes + offsetof(net::Ethernet, type), sizeof start);
  std::memcpy(&middle, bytes + kIp + offsetof(net::Ipv4, fragment), sizeof middle);
  std::memcpy(&source, bytes + kIp + offsetof(net::Ipv4, source), sizeof source);
  std::memcpy(&tunnel, bytes + kTunnel, sizeof tunnel);
  const std::uint32_t total = net::at<net::Ipv4>(bytes + kIp)->total_length.host();
  // Wraps, and is then too long, where the outer packet ends before the inner one begins.
  const std::uint32_t inner = total - static_cast<std::uint32_t>(kInner - kIp);
  if ((start & kPlainIpv4Mask) != kPlainIpv4 || (middle & kWholeUdpMask) != kWholeUdp ||
      !match.matches(bytes + kIp + offsetof(net::Ipv4, destination)) || !match.plain(tunnel) ||
      inner > frame.length - kInner || changes_ecn(start, bytes + kInner) ||
      net::at<net::Udp>(bytes + kUdp)->length.host() + sizeof(net::Ipv4) != total) [[unlikely]] {
    return false;
  }
  const Vni vni = encap::vni_of(tunnel);
  if (source != last.underlay || last.id == kNoPeer) [[unlikely]] {
    const PeerTable& peers = *context.snapshot->peers;
    const PeerId peer = peers.find(IpAddress::ipv4(Be32::raw(source)));
    last = {source, peers[peer].from_kind == match.kind() ? peer : kNoPeer};
  }
  // Ethernet padding behind the outer packet must not count as inner bytes.
  frame.length = static_cast<std::uint32_t>(kIp) + total;
  packet.origin = Origin(last.id, vni);
  return last.id != kNoPeer && vni.value() != identity::kHealth.value() &&
         parse_plain_ipv4(packet, frame.data + kInner, inner);
}

}  // namespace isthmus
