#include <bit>
#include <cstring>

#include "dataplane/net/headers.h"
#include "dataplane/packet/echo.h"
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

// Reads the L4 header at `l4`, of which `bytes` are readable. `truncated` accepts a header of eight bytes only, as
// quoted by an ICMP error.
std::optional<DropReason> read_l4(IpProtocol protocol, const std::uint8_t* l4, std::uint32_t bytes, bool truncated,
                                  L4View& view) noexcept {
  if (bytes < 8) {
    return DropReason::kMalformed;
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
      if (!truncated && (udp->length.host() < sizeof(net::Udp) || udp->length.host() > bytes)) {
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
    default:
      return DropReason::kUnsupportedL4;
  }
}

struct IpView {
  IpAddress source, destination;
  IpProtocol protocol{};
  std::uint32_t header_bytes = 0;
  bool fragment = false;
};

// Reads an IP header of which `bytes` are readable. False if it is truncated or inconsistent.
bool read_ip(const std::uint8_t* ip, std::uint32_t bytes, Family family, IpView& view) noexcept {
  if (family == Family::kIpv4) {
    const auto* header = net::at<net::Ipv4>(ip);
    if (bytes < sizeof(net::Ipv4) || header->header_bytes() < sizeof(net::Ipv4) || header->header_bytes() > bytes) {
      return false;
    }
    view = {IpAddress::ipv4(header->source), IpAddress::ipv4(header->destination),
            static_cast<IpProtocol>(header->protocol), header->header_bytes(),
            (header->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) != 0};
    return true;
  }
  const auto* header = net::at<net::Ipv6>(ip);
  if (bytes < sizeof(net::Ipv6)) {
    return false;
  }
  constexpr std::uint8_t kFragmentHeader = 44;
  view = {IpAddress::ipv6(header->source), IpAddress::ipv6(header->destination),
          static_cast<IpProtocol>(header->next_header), sizeof(net::Ipv6), header->next_header == kFragmentHeader};
  return true;
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
  if (version != static_cast<unsigned>(packet.family) || !read_ip(quoted, bytes, packet.family, ip) || ip.fragment) {
    return DropReason::kMalformed;
  }
  if (const auto drop = read_l4(ip.protocol, quoted + ip.header_bytes, bytes - ip.header_bytes, true, l4)) {
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
  if (!read_ip(packet.ip, packet.ip_bytes, packet.family, ip)) {
    return DropReason::kMalformed;
  }
  if (ip.fragment) {
    return DropReason::kIpFragment;
  }
  if (packet.family == Family::kIpv6 && (ip.source.is_ipv4() || ip.destination.is_ipv4())) {
    return DropReason::kMartian;  // ::ffff:0:0/96 must not appear on the wire (RFC 4038 section 4.2)
  }
  packet.l4 = packet.ip + ip.header_bytes;
  const std::uint32_t l4_bytes = packet.ip_bytes - ip.header_bytes;
  const bool icmp = ip.protocol == (packet.family == Family::kIpv4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6);
  if (!icmp && (ip.protocol == IpProtocol::kIcmp || ip.protocol == IpProtocol::kIcmpv6)) {
    return DropReason::kUnsupportedL4;
  }
  if (icmp && l4_bytes >= sizeof(net::Icmp) && is_error(ip.protocol, *packet.l4)) {
    if (const auto drop = key_from_quote(packet, ip, realm)) {
      return drop;
    }
  } else {
    L4View l4;
    if (const auto drop = read_l4(ip.protocol, packet.l4, l4_bytes, false, l4)) {
      return drop;
    }
    packet.tcp_flags = l4.tcp_flags;
    packet.key = {ip.source, ip.destination, l4.source, l4.destination, ip.protocol, realm};
  }
  return std::nullopt;
}

IpAddress sender_of(const Packet& packet) noexcept {
  return packet.family == Family::kIpv4 ? IpAddress::ipv4(net::at<net::Ipv4>(packet.ip)->source)
                                        : IpAddress::ipv6(net::at<net::Ipv6>(packet.ip)->source);
}

}  // namespace isthmus
