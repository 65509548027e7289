#include "control/kernel/next_hops.h"

#include <algorithm>
#include <cerrno>
#include <map>

namespace isthmus {
namespace {

bool carries_traffic(const RouteEntry& route) {
  return route.type == RTN_UNICAST && route.tos == 0 && route.interface_index != 0 &&
         route.protocol != kRouteProtocol && route.table == RT_TABLE_MAIN;
}

Error no_route(const IpAddress& address, const NetlinkFailure& failed) {
  return {"the kernel has no route to the address: " + failed.text, address.to_string(),
          "add a route (see `ip route get " + address.to_string() + "`)"};
}

}  // namespace

Result<NextHop> query_next_hop(NetlinkRequests& requests, const Links& links, const IpAddress& address) {
  const bool ipv4 = address.is_ipv4();
  NetlinkMessage message(RTM_GETROUTE, 0);
  auto& header = message.header<rtmsg>();
  header.rtm_family = ipv4 ? AF_INET : AF_INET6;
  header.rtm_dst_len = ipv4 ? 32 : 128;
  message.put(RTA_DST, address);

  NextHop hop;
  std::uint8_t type = RTN_UNSPEC;
  std::optional<std::uint32_t> route_mtu;
  const auto failed = requests.get(message, [&](const nlmsghdr* reply) {
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(reply));
    const NetlinkAttributes attributes(reply, sizeof(*route));
    type = route->rtm_type;
    hop.interface_index = static_cast<int>(attributes.number(RTA_OIF).value_or(0));
    hop.source = attributes.address(RTA_PREFSRC);
    hop.address = gateway_of(attributes).value_or(address);
    if (const nlattr* metrics = attributes.get(RTA_METRICS); metrics != nullptr) {
      route_mtu = NetlinkAttributes(metrics).number(RTAX_MTU);
    }
  });
  if (failed) {
    return no_route(address, *failed);
  }
  hop.is_local = type == RTN_LOCAL;
  hop.on_link = hop.address == address;
  if (!hop.is_local && type != RTN_UNICAST) {
    return no_route(address, {ENETUNREACH, "the route rejects packets, or the address is not unicast"});
  }
  const LinkState* link = links.by_index(hop.interface_index);
  if (link == nullptr) {
    return no_route(address, {ENODEV, "its interface was just removed"});
  }
  hop.interface = link->interface;
  hop.mtu = route_mtu && *route_mtu != 0 ? Bytes{std::min(*route_mtu, link->mtu.value())} : link->mtu;
  return hop;
}

std::vector<RouteEntry> choose_local_routes(std::span<const RouteEntry> routes, std::span<const Prefix> prefixes) {
  std::map<Prefix, RouteEntry> best;
  const auto offer = [&best](const Prefix& prefix, const RouteEntry& route) {
    const auto [at, inserted] = best.try_emplace(prefix, route);
    // The longer original prefix wins, then the lower metric, as in the kernel.
    if (!inserted && (route.prefix.length() > at->second.prefix.length() ||
                      (route.prefix.length() == at->second.prefix.length() && route.metric < at->second.metric))) {
      at->second = route;
    }
  };
  for (const RouteEntry& route : routes) {
    if (!carries_traffic(route)) {
      continue;
    }
    for (const Prefix& prefix : prefixes) {
      if (prefix.family() != route.prefix.family()) {
        continue;  // in the 128-bit form ::/0 contains all of IPv4
      }
      if (prefix.contains(route.prefix)) {
        offer(route.prefix, route);
      } else if (route.prefix.contains(prefix)) {
        offer(prefix, route);
      }
    }
  }
  std::vector<RouteEntry> chosen;
  for (auto& [prefix, route] : best) {
    route.prefix = prefix;
    chosen.push_back(route);
  }
  return chosen;
}

Result<std::vector<KernelRoute>> query_local_routes(NetlinkRequests& requests, const Links& links,
                                                    std::span<const Prefix> prefixes) {
  std::vector<RouteEntry> routes;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    auto some = list_routes(requests, family, 0);
    if (!some) {
      return some.error();
    }
    routes.insert(routes.end(), some->begin(), some->end());
  }
  std::vector<KernelRoute> local;
  for (const RouteEntry& route : choose_local_routes(routes, prefixes)) {
    if (const LinkState* link = links.by_index(route.interface_index); link != nullptr) {
      local.push_back({route.prefix, link->interface, route.gateway});
    }
  }
  return local;
}

}  // namespace isthmus
