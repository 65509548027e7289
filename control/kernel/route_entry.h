// A route as shown by route netlink. Plain values; thread: control.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Marks our own routes (rtnetlink's "protocol", as in `ip route show proto 21`); not used by iproute2 or routing
// daemons.
inline constexpr std::uint8_t kRouteProtocol = 21;

// The kernel keeps each family's routes and rules by themselves.
inline constexpr std::array kFamilies = {Family::kIpv4, Family::kIpv6};

struct RouteEntry {
  Prefix prefix;
  std::uint32_t table = 0;
  std::uint8_t protocol = 0, type = 0, tos = 0;
  std::uint32_t metric = 0;
  int interface_index = 0;           // 0: none (blackhole and the like), or all next hops are dead
  std::optional<IpAddress> gateway;  // of either family
  std::optional<IpAddress> source;
  std::optional<std::uint32_t> mtu;
};

// A multipath route is represented by its first live next hop. Precondition: `message` is RTM_NEWROUTE or RTM_DELROUTE.
// Empty: not an IPv4 or IPv6 route, or one of the kernel's cached clones.
[[nodiscard]] std::optional<RouteEntry> parse_route(const nlmsghdr* message);

// From a route's or next hop's attributes. Empty: on-link.
[[nodiscard]] std::optional<IpAddress> gateway_of(const NetlinkAttributes& attributes);

// Routes of one family in `table`; only those of `protocol` if it is not 0.
[[nodiscard]] Result<std::vector<RouteEntry>> list_routes(NetlinkRequests& requests, Family family,
                                                          std::uint8_t protocol, std::uint32_t table = RT_TABLE_MAIN);

// The routers of all routes in all tables, those of multipath routes and of dead next hops included, with the number of
// the interface; but not of our own routes. One that several routes name may be visited as often. `restart`: what was
// visited is void.
[[nodiscard]] std::optional<Error> visit_routers(NetlinkRequests& requests, Family family,
                                                 const std::function<void()>& restart,
                                                 const std::function<void(const IpAddress&, int)>& visit);

[[nodiscard]] std::string route_protocol_name(std::uint8_t protocol);

}  // namespace isthmus
