#include <bit>
#include <cstring>
#include <limits>

#include "dataplane/net/headers.h"
#include "dataplane/packet/echo.h"
#include "dataplane/packet/header_chain.h"
#include "dataplane/packet/parse.h"

namespace isthmus {
namespace {

// The fields of an L4 header that the path needs. For ICMP echo the identifier takes the place of a port.
struct L4View {
  Be16 source, destination;
  std::uint8_t tcp_flags = 0;
};

bool is_echo(IpProtocol protocol, std::uint8_t type, bool& request) noexcept {
  const bool v4 = protocol == IpProtocol::kIcmp;
  request = type == (v4 ? net::icmp4::kEchoRequest : net::icmp6::kEchoRequest);
  return request || type == (v4 ? net::icmp4::kEchoReply : net::icmp6::kEchoReply);
}

bool is_error(IpProtocol protocol, std::uint8_t type) noexcept {
  if (protocol == IpProtocol::kIcmp) {
    return type == net::icmp4::kUnreachable || type == net::icmp4::kTimeExceeded || type == net::icmp4::kParameter;
  }
  return type >= net::icmp6::kUnreachable && type <= net::icmp6::kParameter;
}

// How much of an L4 datagram is there: all; its beginning, as a first fragment has it; or what an ICMP error quotes, a
// header of eight bytes at least.
enum class Extent : std::uint8_t { kWhole, kBeginning, kQuoted };

// Numbers that are no L4 protocol of IPv4: those of IPv6's own headers, and ICMPv6; and in IPv6, ICMP.
bool is_foreign(IpProtocol protocol, Family family) noexcept {
  if (family == Family::kIpv6) {
    return protocol == IpProtocol::kIcmp;
  }
  return protocol == IpProtocol::kIcmpv6 ||
         (is_extension_header(static_cast<std::uint8_t>(protocol)) && protocol != IpProtocol::kAuthentication);
}

// Reads the L4 header at `l4`, of which `bytes` are readable. Protocols without ports have no header that we know.
std::optional<DropReason> read_l4(IpProtocol protocol, const std::uint8_t* l4, std::uint32_t bytes, Extent extent,
                                  L4View& view) noexcept {
  const bool truncated = extent == Extent::kQuoted;
  constexpr std::uint32_t kLeast = 8;  // of an L4 header with ports, and of a quote
  if (bytes < kLeast) {
    return has_ports(protocol) || is_icmp(protocol) || truncated ? std::optional(DropReason::kMalformed) : std::nullopt;
  }
  switch (protocol) {
    case IpProtocol::kTcp: {
      const auto* tcp = net::at<net::Tcp>(l4);
      if (!truncated &&
          (bytes < sizeof(net::Tcp) || (tcp->offset >> 4) * 4u < sizeof(net::Tcp) || (tcp->offset >> 4) * 4u > bytes)) {
        return DropReason::kMalformed;
      }
      view = {tcp->source, tcp->destination, truncated ? std::uint8_t{0} : tcp->flags};
      return std::nullopt;
    }
    case IpProtocol::kUdp: {
      const auto* udp = net::at<net::Udp>(l4);
      if (!truncated &&
          (udp->length.host() < sizeof(net::Udp) || (extent == Extent::kWhole && udp->length.host() > bytes))) {
        return DropReason::kMalformed;
      }
      view = {udp->source, udp->destination};
      return std::nullopt;
    }
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6: {
      const auto* icmp = net::at<net::Icmp>(l4);
      bool request = false;
      if (!is_echo(protocol, icmp->type, request)) {
        return DropReason::kUnsupportedIcmp;
      }
      const EchoPorts ports = echo_ports(icmp->id, request);
      view = {ports.source, ports.destination};
      return std::nullopt;
    }
    case IpProtocol::kSctp: {
      const auto* sctp = net::at<net::Sctp>(l4);
      if (!truncated && bytes < sizeof(net::Sctp)) {
        return DropReason::kMalformed;
      }
      view = {sctp->source, sctp->destination};
      return std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

struct IpView {
  IpAddress source, destination;
  IpProtocol protocol{};
  std::uint32_t header_bytes = 0;
  Fragment fragment = Fragment::kNone;
};

Fragment fragment_of(bool more, bool offset) noexcept {
  return offset ? Fragment::kLater : more ? Fragment::kFirst : Fragment::kNone;
}

// Reads an IP header, and what stands between it and L4, of which `bytes` are readable.
std::optional<DropReason> read_ip(const std::uint8_t* ip, std::uint32_t bytes, Family family, IpView& view) noexcept {
  if (family == Family::kIpv4) {
    const auto* header = net::at<net::Ipv4>(ip);
    if (bytes < sizeof(net::Ipv4) || header->header_bytes() < sizeof(net::Ipv4) || header->header_bytes() > bytes) {
      return DropReason::kMalformed;
    }
    view = {IpAddress::ipv4(header->source), IpAddress::ipv4(header->destination),
            static_cast<IpProtocol>(header->protocol), header->header_bytes(),
            fragment_of((header->fragment.host() & net::Ipv4::kMoreFragments) != 0,
                        (header->fragment.host() & net::Ipv4::kFragmentOffset) != 0)};
    return view.header_bytes == sizeof(net::Ipv4) ? std::nullopt : check_ipv4_options(ip, view.header_bytes);
  }
  const auto* header = net::at<net::Ipv6>(ip);
  if (bytes < sizeof(net::Ipv6)) {
    return DropReason::kMalformed;
  }
  view = {IpAddress::ipv6(header->source), IpAddress::ipv6(header->destination),
          static_cast<IpProtocol>(header->next_header), sizeof(net::Ipv6)};
  if (!is_extension_header(header->next_header)) {
    return std::nullopt;
  }
  HeaderChain chain;
  const auto drop = read_chain(ip, bytes, chain);
  view.protocol = chain.protocol;
  view.header_bytes = chain.bytes;
  view.fragment = chain.fragment;
  // RFC 7112: the first fragment has all headers.
  return drop == DropReason::kMalformed && chain.fragment == Fragment::kFirst
             ? std::optional(DropReason::kFragmentInvalid)
             : drop;
}

// Path MTU discovery must not be told less than every link carries: 552 bytes as Linux has it
// (net.ipv4.route.min_pmtu), 1280 by RFC 8200 section 5.
bool valid_mtu(const Packet& packet) noexcept {
  constexpr std::uint32_t kMinMtuIpv4 = 552, kMinMtuIpv6 = 1280;
  const auto* icmp = net::at<net::Icmp>(packet.l4);
  Be32 rest;
  std::memcpy(&rest, packet.l4 + 4, sizeof rest);
  if (packet.family == Family::kIpv4) {
    return icmp->type != net::icmp4::kUnreachable || icmp->code != net::icmp4::kCodeFragmentationNeeded ||
           (rest.host() & 0xffff) >= kMinMtuIpv4;
  }
  return icmp->type != net::icmp6::kPacketTooBig || rest.host() >= kMinMtuIpv6;
}

// An ICMP error quotes the start of a packet that the connection sent in the opposite direction, so the reverse of that
// packet's key is the key of the direction in which the error travels.
std::optional<DropReason> key_from_quote(Packet& packet, const IpView& outer, Realm realm) noexcept {
  const std::uint32_t readable = packet.ip_bytes - outer.header_bytes;
  const std::uint8_t* quoted = packet.l4 + sizeof(net::Icmp);
  const std::uint32_t bytes = readable - static_cast<std::uint32_t>(sizeof(net::Icmp));
  IpView ip;
  L4View l4;
  const unsigned version = bytes == 0 ? 0u : static_cast<unsigned>(quoted[0] >> 4);
  if (version != static_cast<unsigned>(packet.family)) {
    return DropReason::kMalformed;
  }
  if (const auto drop = read_ip(quoted, bytes, packet.family, ip)) {
    return drop;
  }
  if (is_foreign(ip.protocol, packet.family)) {
    return DropReason::kUnsupportedL4;
  }
  if (ip.fragment == Fragment::kLater) {  // it names no ports; an error about the first one does
    return DropReason::kUnsupportedIcmp;
  }
  if (const auto drop = read_l4(ip.protocol, quoted + ip.header_bytes, bytes - ip.header_bytes, Extent::kQuoted, l4)) {
    return drop;
  }
  if (outer.destination != ip.source || !valid_mtu(packet)) {
    return DropReason::kIcmpInvalid;
  }
  packet.icmp_error = true;
  packet.key = {ip.destination, ip.source, l4.destination, l4.source, ip.protocol, realm};
  return std::nullopt;
}

}  // namespace

std::optional<DropReason> parse_ethernet(Packet& packet, std::uint8_t* ethernet) noexcept {
  const auto end = packet.frame->data + packet.frame->length;
  const auto available = end - ethernet;
  if (available < static_cast<std::ptrdiff_t>(sizeof(net::Ethernet) + sizeof(net::Ipv4))) {
    return DropReason::kMalformed;
  }
  const auto room = static_cast<std::uint32_t>(available) - static_cast<std::uint32_t>(sizeof(net::Ethernet));
  packet.ip = ethernet + sizeof(net::Ethernet);
  switch (static_cast<EtherType>(net::at<net::Ethernet>(ethernet)->type.host())) {
    case EtherType::kIpv4: {
      const auto* ip = net::at<net::Ipv4>(packet.ip);
      packet.family = Family::kIpv4;
      packet.ip_bytes = ip->total_length.host();
      if (ip->version_ihl >> 4 != 4 || ip->header_bytes() < sizeof(net::Ipv4) || packet.ip_bytes < ip->header_bytes() ||
          packet.ip_bytes > room) {
        return DropReason::kMalformed;
      }
      break;
    }
    case EtherType::kIpv6: {
      const auto* ip = net::at<net::Ipv6>(packet.ip);
      packet.family = Family::kIpv6;
      if (room < sizeof(net::Ipv6) || packet.ip[0] >> 4 != 6) {
        return DropReason::kMalformed;
      }
      packet.ip_bytes = static_cast<std::uint32_t>(sizeof(net::Ipv6)) + ip->payload_length.host();
      if (packet.ip_bytes > room) {
        return DropReason::kMalformed;
      }
      break;
    }
    default:
      return DropReason::kUnsupportedL2;
  }
  return std::nullopt;
}

std::optional<DropReason> parse_flow(Packet& packet, Realm realm) noexcept {
  IpView ip;
  if (const auto drop = read_ip(packet.ip, packet.ip_bytes, packet.family, ip)) {
    return drop;
  }
  if (packet.family == Family::kIpv6 && (ip.source.is_ipv4() || ip.destination.is_ipv4())) {
    return DropReason::kMartian;  // ::ffff:0:0/96 must not appear on the wire (RFC 4038 section 4.2)
  }
  packet.l4 = packet.ip + ip.header_bytes;
  const std::uint32_t l4_bytes = packet.ip_bytes - ip.header_bytes;
  if (is_foreign(ip.protocol, packet.family)) {
    return DropReason::kUnsupportedL4;
  }
  packet.fragment = ip.fragment;
  if (ip.fragment == Fragment::kLater) {  // its protocol is that of the first one
    packet.key = {ip.source, ip.destination, Be16{}, Be16{}, ip.protocol, realm};
    return std::nullopt;
  }
  if (is_icmp(ip.protocol) && l4_bytes >= sizeof(net::Icmp) && is_error(ip.protocol, *packet.l4)) {
    if (ip.fragment != Fragment::kNone) {  // none is long enough to be fragmented, RFC 1812 section 4.3.2.3, RFC 4443
      return DropReason::kIpFragment;
    }
    if (const auto drop = key_from_quote(packet, ip, realm)) {
      return drop;
    }
  } else {
    L4View l4;
    const Extent extent = ip.fragment == Fragment::kNone ? Extent::kWhole : Extent::kBeginning;
    if (const auto drop = read_l4(ip.protocol, packet.l4, l4_bytes, extent, l4)) {
      return extent == Extent::kBeginning && *drop == DropReason::kMalformed ? DropReason::kFragmentInvalid : *drop;
    }
    packet.tcp_flags = l4.tcp_flags;
    packet.key = {ip.source, ip.destination, l4.source, l4.destination, ip.protocol, realm};
  }
  return std::nullopt;
}

std::optional<FragmentPart> fragment_part(const Packet& packet) noexcept {
  FragmentPart part;
  std::uint32_t header = 0;
  if (packet.family == Family::kIpv4) {
    const auto* ip = net::at<net::Ipv4>(packet.ip);
    const std::uint32_t word = ip->fragment.host();
    part.id = ip->id.host();
    part.protocol = static_cast<IpProtocol>(ip->protocol);
    part.offset = (word & net::Ipv4::kFragmentOffset) * 8;
    part.more = (word & net::Ipv4::kMoreFragments) != 0;
    header = ip->header_bytes();
  } else {
    HeaderChain chain;
    if (read_chain(packet.ip, packet.ip_bytes, chain) || chain.fragment_at == 0) {
      return std::nullopt;
    }
    header = chain.fragment_at + static_cast<std::uint32_t>(sizeof(net::Ipv6Fragment));
    const auto* fragment = net::at<net::Ipv6Fragment>(packet.ip + chain.fragment_at);
    part.id = fragment->id.host();
    part.protocol = IpProtocol::kIpv6Fragment;
    part.offset = fragment->fragment.host() & net::Ipv6Fragment::kOffset;
    part.more = (fragment->fragment.host() & net::Ipv6Fragment::kMoreFragments) != 0;
  }
  if (part.offset == 0 && !part.more) {
    return std::nullopt;
  }
  part.data = packet.ip + header;
  part.bytes = packet.ip_bytes - header;
  return part;
}

std::uint32_t ip_header_bytes(const std::uint8_t* ip, Family family) noexcept {
  if (family == Family::kIpv4) {
    return net::at<net::Ipv4>(ip)->header_bytes();
  }
  if (!is_extension_header(net::at<net::Ipv6>(ip)->next_header)) {
    return sizeof(net::Ipv6);
  }
  HeaderChain chain;
  constexpr auto kAll = std::numeric_limits<std::uint32_t>::max();  // it ended within its packet
  return read_chain(ip, kAll, chain) ? sizeof(net::Ipv6) : chain.bytes;
}

IpAddress sender_of(const Packet& packet) noexcept {
  return packet.family == Family::kIpv4 ? IpAddress::ipv4(net::at<net::Ipv4>(packet.ip)->source)
                                        : IpAddress::ipv6(net::at<net::Ipv6>(packet.ip)->source);
}

IpAddress destination_of(const Packet& packet) noexcept {
  return packet.family == Family::kIpv4 ? IpAddress::ipv4(net::at<net::Ipv4>(packet.ip)->destination)
                                        : IpAddress::ipv6(net::at<net::Ipv6>(packet.ip)->destination);
}

}  // namespace isthmus
