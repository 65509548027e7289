#include "control/kernel/closed_routes.h"

#include <linux/fib_rules.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <tuple>
#include <utility>

#include "control/kernel/route_entry.h"

namespace isthmus {
namespace {

using Rule = std::pair<std::string, Prefix>;  // interface, source

unsigned char address_family(Family family) { return family == Family::kIpv4 ? AF_INET : AF_INET6; }

Error closed_error(const std::string& what, const NetlinkFailure& failed) {
  return {what + ": " + failed.text, "closed routes",
          failed.code == EPERM ? "run as root or with CAP_NET_ADMIN"
                               : "see `ip rule` and `ip route show table " + std::to_string(kClosedTable) + "`"};
}

Result<std::set<Rule>> list_rules(NetlinkRequests& requests, Family family) {
  NetlinkMessage message(RTM_GETRULE, 0);
  message.header<fib_rule_hdr>().family = address_family(family);
  std::set<Rule> rules;
  const auto failed = requests.dump(
      message, [&rules] { rules.clear(); },
      [&](const nlmsghdr* reply) {
        const auto* header = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(reply));
        const NetlinkAttributes attributes(reply, sizeof *header);
        const auto source = attributes.address(FRA_SRC);
        if (header->family == address_family(family) && source &&
            attributes.number(FRA_TABLE).value_or(header->table) == kClosedTable) {
          rules.emplace(attributes.text(FRA_IIFNAME), Prefix(*source, header->src_len));
        }
      });
  if (failed && failed->code != EAFNOSUPPORT && failed->code != EOPNOTSUPP) {
    return closed_error("cannot list the kernel's routing rules", *failed);
  }
  return rules;
}

std::optional<NetlinkFailure> change_rule(NetlinkRequests& requests, const Rule& rule, bool add) {
  NetlinkMessage message(add ? RTM_NEWRULE : RTM_DELRULE,
                         add ? static_cast<std::uint16_t>(NLM_F_CREATE | NLM_F_EXCL) : std::uint16_t{0});
  auto& header = message.header<fib_rule_hdr>();
  header.family = address_family(rule.second.family());
  header.src_len = rule.second.length();
  header.action = FR_ACT_TO_TBL;
  message.put(FRA_SRC, rule.second.address());
  message.put(FRA_IIFNAME, rule.first);
  message.put(FRA_PRIORITY, kClosedPriority);
  message.put(FRA_TABLE, kClosedTable);
  return requests.apply(message);
}

std::optional<NetlinkFailure> change_route(NetlinkRequests& requests, const Prefix& destination, bool add) {
  NetlinkMessage message(add ? RTM_NEWROUTE : RTM_DELROUTE,
                         add ? static_cast<std::uint16_t>(NLM_F_CREATE | NLM_F_EXCL) : std::uint16_t{0});
  auto& header = message.header<rtmsg>();
  header.rtm_family = address_family(destination.family());
  header.rtm_dst_len = destination.length();
  header.rtm_table = RT_TABLE_UNSPEC;
  header.rtm_protocol = kRouteProtocol;
  header.rtm_type = RTN_BLACKHOLE;
  header.rtm_scope = add ? RT_SCOPE_UNIVERSE : RT_SCOPE_NOWHERE;
  message.put(RTA_DST, destination.address());
  message.put(RTA_TABLE, kClosedTable);
  return requests.apply(message);
}

// Calls `change` for those in `from` that `other` lacks; returns the first failure but `harmless`.
template <typename Item, typename Change>
std::optional<NetlinkFailure> for_missing(const std::set<Item>& from, const std::set<Item>& other, int harmless,
                                          Change change) {
  std::optional<NetlinkFailure> first;
  for (const Item& item : from) {
    if (!other.contains(item)) {
      auto failed = change(item);
      if (failed && failed->code != harmless && !first) {
        first = std::move(failed);
      }
    }
  }
  return first;
}

Status set_family(NetlinkRequests& requests, Family family, const std::set<Rule>& rules,
                  const std::set<Prefix>& destinations) {
  const auto old_rules = list_rules(requests, family);
  if (!old_rules) {
    return old_rules.error();
  }
  const auto routes = list_routes(requests, family, kRouteProtocol, kClosedTable);
  if (!routes) {
    return routes.error();
  }
  std::set<Prefix> old_destinations;
  for (const RouteEntry& route : *routes) {
    old_destinations.insert(route.prefix);
  }
  const auto route_change = [&](bool add) {
    return [&requests, add](const Prefix& destination) { return change_route(requests, destination, add); };
  };
  const auto rule_change = [&](bool add) {
    return [&requests, add](const Rule& rule) { return change_rule(requests, rule, add); };
  };
  if (const auto failed = for_missing(destinations, old_destinations, EEXIST, route_change(true))) {
    return closed_error("cannot close a fleet prefix", *failed);
  }
  if (const auto failed = for_missing(rules, *old_rules, EEXIST, rule_change(true))) {
    return closed_error("cannot add a routing rule", *failed);
  }
  if (const auto failed = for_missing(*old_rules, rules, ENOENT, rule_change(false))) {
    return closed_error("cannot remove a routing rule", *failed);
  }
  if (const auto failed = for_missing(old_destinations, destinations, ESRCH, route_change(false))) {
    return closed_error("cannot open a prefix again", *failed);
  }
  return Ok{};
}

}  // namespace

Status set_closed_routes(NetlinkRequests& requests, std::span<const std::string> interfaces,
                         std::span<const Prefix> sources, std::span<const Prefix> destinations) {
  for (const Family family : kFamilies) {
    std::set<Rule> rules;
    std::set<Prefix> closed;
    for (const std::string& interface : interfaces) {
      for (const Prefix& source : sources) {
        if (source.family() == family) {
          rules.emplace(interface, source);
        }
      }
    }
    for (const Prefix& destination : destinations) {
      if (destination.family() == family && !rules.empty()) {
        closed.insert(destination);
      }
    }
    if (auto done = set_family(requests, family, rules, closed); !done) {
      return done;
    }
  }
  return Ok{};
}

Status change_closed_routes(NetlinkRequests& requests, std::span<const std::string> interfaces,
                            std::span<const Prefix> sources, std::span<const Prefix> added,
                            std::span<const Prefix> removed) {
  const auto is_closed = [&](const Prefix& destination) {
    return !interfaces.empty() && std::any_of(sources.begin(), sources.end(), [&](const Prefix& source) {
      return source.family() == destination.family();
    });
  };
  for (const Prefix& prefix : added) {
    const auto failed = is_closed(prefix) ? change_route(requests, prefix, true) : std::nullopt;
    if (failed && failed->code != EEXIST) {
      return closed_error("cannot close a fleet prefix", *failed);
    }
  }
  for (const Prefix& prefix : removed) {
    const auto failed = is_closed(prefix) ? change_route(requests, prefix, false) : std::nullopt;
    if (failed && failed->code != ESRCH) {
      return closed_error("cannot open a prefix again", *failed);
    }
  }
  return Ok{};
}

}  // namespace isthmus
