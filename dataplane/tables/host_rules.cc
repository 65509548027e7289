#include "dataplane/tables/host_rules.h"

#include <utility>

#include "dataplane/base/types.h"

namespace isthmus {
namespace {

constexpr auto kUdpProtocol = static_cast<std::uint8_t>(IpProtocol::kUdp);

}  // namespace

HostRules::HostRules(const TunnelEnds& tunnel, Lists lists) noexcept
    : tunnel_(tunnel),
      tunnel_ipv4_(tunnel.ipv4.is_unspecified() ? 0 : tunnel.ipv4.as_ipv4().wire()),
      lists_(std::move(lists)) {}

bool HostRules::takes(std::span<const std::uint8_t> frame) const noexcept {
  if (frame.size() < sizeof(net::Ethernet)) {
    return false;
  }
  const Bytes ip = frame.subspan(sizeof(net::Ethernet));
  switch (static_cast<EtherType>(net::at<net::Ethernet>(frame.data())->type.host())) {
    case EtherType::kIpv4:
      return takes_ipv4(ip);
    case EtherType::kIpv6:
      return takes_ipv6(ip);
    default:
      return false;
  }
}

bool HostRules::takes_ipv4(Bytes ip) const noexcept {
  const auto* header = net::at<net::Ipv4>(ip.data());
  if (ip.size() < sizeof(net::Ipv4) || header->version_ihl >> 4 != 4 || header->header_bytes() < sizeof(net::Ipv4)) {
    return false;
  }
  const Ends ends{Family::kIpv4, IpAddress::ipv4(header->source), IpAddress::ipv4(header->destination)};
  const bool to_node = header->destination.wire() == tunnel_ipv4_, to_us = to_node && tunnel_ipv4_ != 0;
  const bool whole = (header->fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) == 0;
  if (to_us && header->protocol == kUdpProtocol) {
    const std::size_t udp = header->header_bytes();
    if (!whole) {
      if (has(List::kPeers, Family::kIpv4, ends.source)) {
        return true;
      }
    } else if (ip.size() < udp + sizeof(net::Udp)) {
      return false;
    } else if (is_tunnel_port(ip.data() + udp)) {
      return has(List::kPeers, Family::kIpv4, ends.source);
    }
  }
  if (to_us && whole && header->protocol == static_cast<std::uint8_t>(IpProtocol::kIcmp) &&
      header->header_bytes() == sizeof(net::Ipv4) && is_error_ipv4(ip.subspan(sizeof(net::Ipv4)))) {
    return true;
  }
  return takes_plain(ends, to_node);
}

bool HostRules::takes_ipv6(Bytes ip) const noexcept {
  if (ip.size() < sizeof(net::Ipv6) || ip[0] >> 4 != 6) {
    return false;
  }
  const auto* header = net::at<net::Ipv6>(ip.data());
  const Bytes rest = ip.subspan(sizeof(net::Ipv6));
  const Ends ends{Family::kIpv6, IpAddress::ipv6(header->source), IpAddress::ipv6(header->destination)};
  const bool to_us = !tunnel_.ipv6.is_unspecified() && ends.destination == tunnel_.ipv6;
  const auto next = static_cast<IpProtocol>(header->next_header);
  if (to_us && (next == IpProtocol::kUdp || next == IpProtocol::kIpv6Fragment)) {
    static_assert(sizeof(net::Udp) == sizeof(net::Ipv6Fragment));
    if (rest.size() < sizeof(net::Udp)) {
      return false;
    }
    if (next == IpProtocol::kIpv6Fragment) {
      if (net::at<net::Ipv6Fragment>(rest.data())->next_header == kUdpProtocol &&
          has(List::kPeers, Family::kIpv6, ends.source)) {
        return true;
      }
    } else if (is_tunnel_port(rest.data())) {
      return has(List::kPeers, Family::kIpv6, ends.source);
    }
  }
  if (to_us && next == IpProtocol::kIcmpv6 && is_error_ipv6(rest)) {
    return true;
  }
  return takes_plain(ends, to_us);
}

// From a cluster with native routing to this one: policy is ours to decide, as for what comes in a tunnel. Not what is
// for the node itself.
bool HostRules::takes_plain(const Ends& ends, bool to_node) const noexcept {
  if (has(List::kFleet, ends.family, ends.destination)) {
    return has(List::kLocalSources, ends.family, ends.source);
  }
  return !to_node && has(List::kNative, ends.family, ends.source) &&
         has(List::kLocalSources, ends.family, ends.destination);
}

// Whether an ICMP message says that a packet of ours to a peer was too long.
bool HostRules::is_error_ipv4(Bytes icmp) const noexcept {
  constexpr std::size_t kQuoted = sizeof(net::Icmp), kUdp = kQuoted + sizeof(net::Ipv4);
  if (icmp.size() < kUdp + sizeof(net::Udp)) {
    return false;
  }
  const auto* message = net::at<net::Icmp>(icmp.data());
  const auto* quoted = net::at<net::Ipv4>(icmp.data() + kQuoted);
  return message->type == net::icmp4::kUnreachable && message->code == net::icmp4::kCodeFragmentationNeeded &&
         quoted->version_ihl == 0x45 && quoted->protocol == kUdpProtocol && is_tunnel_port(icmp.data() + kUdp) &&
         has(List::kPeers, Family::kIpv4, IpAddress::ipv4(quoted->destination));
}

bool HostRules::is_error_ipv6(Bytes icmp) const noexcept {
  constexpr std::size_t kQuoted = sizeof(net::Icmp), kUdp = kQuoted + sizeof(net::Ipv6);
  if (icmp.size() < kUdp + sizeof(net::Udp)) {
    return false;
  }
  const auto* quoted = net::at<net::Ipv6>(icmp.data() + kQuoted);
  return net::at<net::Icmp>(icmp.data())->type == net::icmp6::kPacketTooBig && icmp[kQuoted] >> 4 == 6 &&
         quoted->next_header == kUdpProtocol && is_tunnel_port(icmp.data() + kUdp) &&
         has(List::kPeers, Family::kIpv6, IpAddress::ipv6(quoted->destination));
}

}  // namespace isthmus
