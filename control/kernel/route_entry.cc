#include "control/kernel/route_entry.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace isthmus {
namespace {

bool is_dead(unsigned flags) { return (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0; }

// RTA_VIA: a gateway of the other family (struct rtvia: family, then the address).
std::optional<IpAddress> parse_via(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) < sizeof(rtvia)) {
    return std::nullopt;
  }
  const auto* via = static_cast<const rtvia*>(mnl_attr_get_payload(attribute));
  const std::size_t length = mnl_attr_get_payload_len(attribute) - sizeof(rtvia);
  if (via->rtvia_family == AF_INET6 && length == 16) {
    return IpAddress::ipv6(via->rtvia_addr);
  }
  if (via->rtvia_family == AF_INET && length == 4) {
    std::uint32_t wire = 0;
    std::memcpy(&wire, via->rtvia_addr, 4);
    return IpAddress::ipv4(Be32::raw(wire));
  }
  return std::nullopt;
}

// RTA_MULTIPATH: rtnexthop structures, each followed by its attributes. Until `take` returns false.
void visit_hops(const nlattr* multipath, const std::function<bool(const rtnexthop&, const NetlinkAttributes&)>& take) {
  const auto* bytes = static_cast<const char*>(mnl_attr_get_payload(multipath));
  std::size_t left = mnl_attr_get_payload_len(multipath);
  while (left >= sizeof(rtnexthop)) {
    const auto* hop = reinterpret_cast<const rtnexthop*>(bytes);
    if (hop->rtnh_len < sizeof(rtnexthop) || hop->rtnh_len > left) {
      return;
    }
    const NetlinkAttributes attributes(static_cast<const void*>(bytes + sizeof(rtnexthop)),
                                       hop->rtnh_len - sizeof(rtnexthop));
    if (!take(*hop, attributes)) {
      return;
    }
    const std::size_t step = std::min<std::size_t>(left, RTNH_ALIGN(hop->rtnh_len));
    bytes += step;
    left -= step;
  }
}

void take_first_live_hop(RouteEntry& route, const nlattr* multipath) {
  visit_hops(multipath, [&](const rtnexthop& hop, const NetlinkAttributes& attributes) {
    if (is_dead(hop.rtnh_flags)) {
      return true;
    }
    route.interface_index = hop.rtnh_ifindex;
    route.gateway = gateway_of(attributes);
    return false;
  });
}

}  // namespace

std::optional<IpAddress> gateway_of(const NetlinkAttributes& attributes) {
  const auto gateway = attributes.address(RTA_GATEWAY);
  return gateway ? gateway : parse_via(attributes.get(RTA_VIA));
}

std::optional<RouteEntry> parse_route(const nlmsghdr* message) {
  const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  if ((header->rtm_family != AF_INET && header->rtm_family != AF_INET6) || (header->rtm_flags & RTM_F_CLONED) != 0) {
    return std::nullopt;
  }
  const NetlinkAttributes attributes(message, sizeof(*header));
  const IpAddress any = header->rtm_family == AF_INET ? IpAddress::ipv4(Be32{}) : IpAddress{};
  RouteEntry route;
  route.prefix = Prefix(attributes.address(RTA_DST).value_or(any), header->rtm_dst_len);
  route.table = attributes.number(RTA_TABLE).value_or(header->rtm_table);
  route.protocol = header->rtm_protocol;
  route.type = header->rtm_type;
  route.tos = header->rtm_tos;
  route.metric = attributes.number(RTA_PRIORITY).value_or(0);
  route.source = attributes.address(RTA_PREFSRC);
  if (const nlattr* metrics = attributes.get(RTA_METRICS); metrics != nullptr) {
    route.mtu = NetlinkAttributes(metrics).number(RTAX_MTU);
  }
  if (route.type == RTN_BLACKHOLE || route.type == RTN_UNREACHABLE || route.type == RTN_PROHIBIT) {
    return route;  // IPv6 shows lo for these
  }
  if (const nlattr* multipath = attributes.get(RTA_MULTIPATH); multipath != nullptr) {
    take_first_live_hop(route, multipath);
  } else if (!is_dead(header->rtm_flags)) {
    route.interface_index = static_cast<int>(attributes.number(RTA_OIF).value_or(0));
    route.gateway = gateway_of(attributes);
  }
  return route;
}

std::optional<Error> visit_routers(NetlinkRequests& requests, Family family, const std::function<void()>& restart,
                                   const std::function<void(const IpAddress&, int)>& visit) {
  NetlinkMessage message(RTM_GETROUTE, 0);
  auto& header = message.header<rtmsg>();
  header.rtm_family = family == Family::kIpv4 ? AF_INET : AF_INET6;
  header.rtm_type = RTN_UNICAST;  // without the blackholes behind our own routes
  const auto failed = requests.dump(message, restart, [&](const nlmsghdr* reply) {
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(reply));
    // Our own routes can be very many. Older kernels do not filter.
    if (route->rtm_protocol == kRouteProtocol || route->rtm_type != RTN_UNICAST ||
        (route->rtm_flags & RTM_F_CLONED) != 0) {
      return;
    }
    const NetlinkAttributes attributes(reply, sizeof(*route));
    if (const nlattr* multipath = attributes.get(RTA_MULTIPATH); multipath != nullptr) {
      visit_hops(multipath, [&](const rtnexthop& hop, const NetlinkAttributes& of_hop) {
        if (const auto gateway = gateway_of(of_hop)) {
          visit(*gateway, hop.rtnh_ifindex);
        }
        return true;
      });
    } else if (const auto gateway = gateway_of(attributes)) {
      visit(*gateway, static_cast<int>(attributes.number(RTA_OIF).value_or(0)));
    }
  });
  if (failed && failed->code != EAFNOSUPPORT && failed->code != EOPNOTSUPP && failed->code != ENOENT) {
    return Error{"cannot list the kernel's routes: " + failed->text, "netlink", "run as root or with CAP_NET_ADMIN"};
  }
  return std::nullopt;
}

Result<std::vector<RouteEntry>> list_routes(NetlinkRequests& requests, Family family, std::uint8_t protocol,
                                            std::uint32_t table) {
  NetlinkMessage message(RTM_GETROUTE, 0);
  auto& header = message.header<rtmsg>();
  header.rtm_family = family == Family::kIpv4 ? AF_INET : AF_INET6;
  header.rtm_table = static_cast<unsigned char>(table <= RT_TABLE_LOCAL ? table : RT_TABLE_UNSPEC);
  header.rtm_protocol = protocol;
  std::vector<RouteEntry> routes;
  const auto failed = requests.dump(
      message, [&routes] { routes.clear(); },
      [&routes, protocol, table](const nlmsghdr* reply) {
        auto route = parse_route(reply);
        // Older kernels do not filter.
        if (route && route->table == table && (protocol == 0 || route->protocol == protocol)) {
          routes.push_back(*route);
        }
      });
  // These errors mean a node without IPv6, or a table without routes yet.
  if (failed && failed->code != EAFNOSUPPORT && failed->code != EOPNOTSUPP && failed->code != ENOENT) {
    return Error{"cannot list the kernel's routes: " + failed->text, "netlink", "run as root or with CAP_NET_ADMIN"};
  }
  return routes;
}

std::string route_protocol_name(std::uint8_t protocol) {
  struct Name {
    std::uint8_t protocol;
    const char* name;
  };
  static constexpr std::array kNames = {
      Name{RTPROT_KERNEL, "kernel"}, Name{RTPROT_BOOT, "boot"},       Name{RTPROT_STATIC, "static"},
      Name{RTPROT_RA, "ra"},         Name{RTPROT_ZEBRA, "zebra"},     Name{RTPROT_BIRD, "bird"},
      Name{RTPROT_DHCP, "dhcp"},     Name{RTPROT_BGP, "bgp"},         Name{RTPROT_OSPF, "ospf"},
      Name{RTPROT_ISIS, "isis"},     Name{kRouteProtocol, "isthmus"},
  };
  for (const Name& entry : kNames) {
    if (entry.protocol == protocol) {
      return entry.name;
    }
  }
  return "protocol " + std::to_string(protocol);
}

}  // namespace isthmus
