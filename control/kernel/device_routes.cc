#include "control/kernel/device_routes.h"

#include <net/if.h>

#include <array>
#include <cerrno>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "control/kernel/route_entry.h"

namespace isthmus {
namespace {

class RouteWriter {
 public:
  RouteWriter(NetlinkRequests& requests, const LinkState& device, const RouteOptions& options)
      : requests_(requests), device_(device), options_(options) {}

  // Our route for `prefix`, as it should be.
  [[nodiscard]] RouteEntry desired(const Prefix& prefix) const {
    const bool ipv4 = prefix.family() == Family::kIpv4;
    RouteEntry route;
    route.prefix = prefix;
    route.table = RT_TABLE_MAIN;
    route.protocol = kRouteProtocol;
    route.type = RTN_UNICAST;
    route.metric = kRouteMetric;
    route.interface_index = device_.index;
    route.gateway = IpAddress::parse(ipv4 ? kGatewayIpv4 : kGatewayIpv6);
    route.source = ipv4 ? options_.source_ipv4 : options_.source_ipv6;
    route.mtu = options_.mtu.value() == 0 ? device_.mtu.value() : options_.mtu.value();
    return route;
  }

  // What catches the prefix's packets when the route is gone.
  [[nodiscard]] static RouteEntry blackhole(const Prefix& prefix) {
    RouteEntry route;
    route.prefix = prefix;
    route.table = RT_TABLE_MAIN;
    route.protocol = kRouteProtocol;
    route.type = RTN_BLACKHOLE;
    route.metric = kClosedMetric;
    return route;
  }

  [[nodiscard]] static bool same(const RouteEntry& a, const RouteEntry& b) {
    return a.type == b.type && a.metric == b.metric && a.interface_index == b.interface_index &&
           a.gateway == b.gateway && a.source == b.source && a.mtu == b.mtu;
  }

  [[nodiscard]] std::optional<NetlinkFailure> put(const RouteEntry& route, bool replace) {
    NetlinkMessage message(RTM_NEWROUTE,
                           static_cast<std::uint16_t>(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)));
    rtmsg& header = fill(message, route);
    message.put(RTA_DST, route.prefix.address());
    message.put(RTA_PRIORITY, route.metric);
    if (route.type == RTN_BLACKHOLE) {
      return requests_.apply(message);
    }
    header.rtm_flags = RTNH_F_ONLINK;
    message.put(RTA_OIF, static_cast<std::uint32_t>(route.interface_index));
    message.put(RTA_GATEWAY, *route.gateway);
    if (route.source) {
      message.put(RTA_PREFSRC, *route.source);
    }
    message.nest(RTA_METRICS, [&] { message.put(RTAX_MTU, *route.mtu); });
    return requests_.apply(message);
  }

  [[nodiscard]] std::optional<NetlinkFailure> remove(const RouteEntry& route) {
    NetlinkMessage message(RTM_DELROUTE, 0);
    fill(message, route);
    message.put(RTA_DST, route.prefix.address());
    message.put(RTA_PRIORITY, route.metric);
    if (route.interface_index != 0) {
      message.put(RTA_OIF, static_cast<std::uint32_t>(route.interface_index));
    }
    return requests_.apply(message);
  }

 private:
  // The kernel matches protocol and table on removal too, so that only our own routes can be removed.
  static rtmsg& fill(NetlinkMessage& message, const RouteEntry& route) {
    auto& header = message.header<rtmsg>();
    header.rtm_family = route.prefix.family() == Family::kIpv4 ? AF_INET : AF_INET6;
    header.rtm_dst_len = route.prefix.length();
    header.rtm_tos = route.tos;
    header.rtm_table = RT_TABLE_MAIN;
    header.rtm_protocol = route.protocol;
    header.rtm_type = route.type;
    header.rtm_scope = message.raw()->nlmsg_type == RTM_DELROUTE ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE;
    return header;
  }

  NetlinkRequests& requests_;
  const LinkState& device_;
  const RouteOptions& options_;
};

std::string interface_name(int index) {
  std::array<char, IF_NAMESIZE> name{};
  return index != 0 && if_indextoname(static_cast<unsigned>(index), name.data()) != nullptr ? name.data() : "";
}

Error route_error(const LinkState& device, const char* what, const Prefix& prefix, const NetlinkFailure& failed) {
  const char* fix = "see `ip route show proto 21`";
  if (failed.code == ENETDOWN) {
    fix = "bring the interface up";
  } else if (failed.code == EINVAL || failed.code == EADDRNOTAVAIL) {
    fix = "check that the source address is one of the node's, and that the node has the family enabled";
  } else if (failed.code == EPERM) {
    fix = "run as root or with CAP_NET_ADMIN";
  }
  return {std::string(what) + " route " + prefix.to_string() + ": " + failed.text, device.interface, fix};
}

// The routes of the main table, as far as they matter for those that are desired.
struct Present {
  std::map<Prefix, RouteEntry> current;  // ours, for desired prefixes
  std::set<Prefix> closed;               // desired prefixes with their blackhole
  std::vector<RouteEntry> leftovers;     // other routes with our protocol
  std::vector<ForeignRoute> foreign;
};

Result<Present> read_routes(NetlinkRequests& requests, const std::set<Prefix>& desired, bool with_blackholes) {
  Present present;
  for (const Family family : kFamilies) {
    auto routes = list_routes(requests, family, 0);
    if (!routes) {
      return routes.error();
    }
    for (const RouteEntry& route : *routes) {
      const bool wanted = desired.contains(route.prefix) && route.tos == 0;
      if (route.protocol != kRouteProtocol) {
        if (wanted && route.metric <= kRouteMetric) {
          present.foreign.push_back(
              {route.prefix, interface_name(route.interface_index), route_protocol_name(route.protocol), route.metric});
        }
      } else if (wanted && route.metric == kRouteMetric) {
        present.current.emplace(route.prefix, route);
      } else if (wanted && with_blackholes && route.metric == kClosedMetric && route.type == RTN_BLACKHOLE) {
        present.closed.insert(route.prefix);
      } else {
        present.leftovers.push_back(route);
      }
    }
  }
  return present;
}

}  // namespace

Result<RouteReport> set_device_routes(NetlinkRequests& requests, const LinkState& device,
                                      std::span<const Prefix> prefixes, const RouteOptions& options) {
  const std::set<Prefix> desired(prefixes.begin(), prefixes.end());
  auto present = read_routes(requests, desired, options.closed);
  if (!present) {
    return present.error();
  }
  RouteReport report;
  report.foreign = std::move(present->foreign);
  RouteWriter writer(requests, device, options);
  std::optional<Error> first_error;
  const auto record = [&](const char* what, const Prefix& prefix, const NetlinkFailure& failed) {
    if (!first_error) {
      first_error = route_error(device, what, prefix, failed);
    }
  };
  for (const Prefix& prefix : desired) {
    const RouteEntry route = writer.desired(prefix);
    const auto old = present->current.find(prefix);
    if (old != present->current.end() && RouteWriter::same(old->second, route)) {
      ++report.kept;
    } else if (const auto failed = writer.put(route, old != present->current.end()); !failed) {
      ++(old != present->current.end() ? report.changed : report.added);
    } else if (failed->code != EEXIST) {  // another program's route of the same metric, see report.foreign
      record("cannot set", prefix, *failed);
    }
    if (options.closed && !present->closed.contains(prefix)) {
      if (const auto failed = writer.put(RouteWriter::blackhole(prefix), false); failed && failed->code != EEXIST) {
        record("cannot close", prefix, *failed);
      }
    }
  }
  for (const RouteEntry& route : present->leftovers) {
    if (const auto failed = writer.remove(route); !failed || failed->code == ESRCH) {
      report.removed += route.type == RTN_BLACKHOLE && route.metric == kClosedMetric ? 0 : 1;
    } else {
      record("cannot remove", route.prefix, *failed);
    }
  }
  if (first_error) {
    return *first_error;
  }
  return report;
}

Result<bool> change_device_routes(NetlinkRequests& requests, const LinkState& device, std::span<const Prefix> added,
                                  std::span<const Prefix> removed, const RouteOptions& options) {
  RouteWriter writer(requests, device, options);
  for (const Prefix& prefix : added) {
    if (const auto failed = writer.put(writer.desired(prefix), false)) {
      return failed->code == EEXIST ? Result<bool>(false) : route_error(device, "cannot set", prefix, *failed);
    }
    if (const auto failed = options.closed ? writer.put(RouteWriter::blackhole(prefix), false) : std::nullopt;
        failed && failed->code != EEXIST) {
      return route_error(device, "cannot close", prefix, *failed);
    }
  }
  for (const Prefix& prefix : removed) {
    for (const RouteEntry& route : {writer.desired(prefix), RouteWriter::blackhole(prefix)}) {
      if (const auto failed = writer.remove(route); failed && failed->code != ESRCH) {
        return route_error(device, "cannot remove", prefix, *failed);
      }
    }
  }
  return true;
}

Status remove_blackholes(NetlinkRequests& requests) {
  const LinkState none;
  const RouteOptions options;
  RouteWriter writer(requests, none, options);
  for (const Family family : kFamilies) {
    const auto routes = list_routes(requests, family, kRouteProtocol);
    if (!routes) {
      return routes.error();
    }
    for (const RouteEntry& route : *routes) {
      if (route.type != RTN_BLACKHOLE) {
        continue;
      }
      if (const auto failed = writer.remove(route); failed && failed->code != ESRCH) {
        return route_error(none, "cannot remove", route.prefix, *failed);
      }
    }
  }
  return Ok{};
}

}  // namespace isthmus
