#include "control/daemon/local_side.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <utility>

namespace isthmus {
namespace {

const ClusterView* own_cluster(const std::vector<ClusterView>& clusters) {
  const auto own = std::find_if(clusters.begin(), clusters.end(), [](const ClusterView& c) { return c.local; });
  return own == clusters.end() ? nullptr : &*own;
}

std::optional<IpAddress> address_of(const sockaddr* address) {
  if (address == nullptr) {
    return std::nullopt;
  }
  if (address->sa_family == AF_INET) {
    return IpAddress::ipv4(Be32::raw(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    return IpAddress::ipv6(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr.s6_addr);
  }
  return std::nullopt;
}

// An address of this node within its cluster's prefixes: the fleet accepts it as the source of what the node itself
// sends. The underlay device's address is preferred, then the lowest.
std::optional<IpAddress> node_source(Family family, const std::vector<Prefix>& own, const std::string& underlay) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) {
    return std::nullopt;
  }
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, ::freeifaddrs);
  std::set<std::pair<bool, IpAddress>> found;  // not on the underlay device, address
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    const auto address = address_of(entry->ifa_addr);
    if (address && address->family() == family && (entry->ifa_flags & IFF_UP) != 0 &&
        std::any_of(own.begin(), own.end(), [&](const Prefix& prefix) { return prefix.contains(*address); })) {
      found.emplace(underlay != entry->ifa_name, *address);
    }
  }
  return found.empty() ? std::nullopt : std::optional(found.begin()->second);
}

Prefix host_prefix(const IpAddress& address) { return {address, 128}; }

// As the cluster itself has them.
std::vector<Prefix> own_prefixes(const ClusterView& cluster) {
  std::vector<Prefix> own;
  std::transform(cluster.prefixes.begin(), cluster.prefixes.end(), std::back_inserter(own),
                 [&](const Prefix& prefix) { return to_own(cluster.aliases, prefix); });
  return own;
}

// As the node's kernel routes them: by their aliases those of others.
std::vector<Prefix> with_hosts(const ClusterView& cluster) {
  std::vector<Prefix> all = cluster.local ? own_prefixes(cluster) : cluster.prefixes;
  std::transform(cluster.hosts.begin(), cluster.hosts.end(), std::back_inserter(all),
                 [&](const Prefix& prefix) { return cluster.local ? to_own(cluster.aliases, prefix) : prefix; });
  return all;
}

}  // namespace

std::optional<std::vector<LocalRoute>> LocalSide::changed_routes(const std::vector<ClusterView>& clusters,
                                                                 const std::vector<NodeRoute>& nodes) {
  route_problems_.clear();
  route_call_failed_ = false;
  std::set<std::pair<DeviceId, IpAddress>> before = std::exchange(next_hops_, {});
  const ClusterView* own = own_cluster(clusters);
  const std::vector<Prefix> prefixes = own != nullptr ? with_hosts(*own) : std::vector<Prefix>{};
  std::vector<LocalRoute> routes;
  if (node_.kernel_end) {
    if (kernel_end_ == kNoAdjacency) {
      kernel_end_ = adjacencies_.fixed(node_.local, node_.kernel_end->mac);
    }
    routes = own == nullptr ? std::vector<LocalRoute>{} : through_kernel_end(*own);
  } else {
    auto found = through_kernel_routes(prefixes);
    if (!found) {  // what was given stays in force
      next_hops_ = std::move(before);
      return std::nullopt;
    }
    routes = std::move(*found);
  }
  add_node_routes(nodes, routes);
  add_native_routes(clusters, routes);
  adjacencies_.set_local(next_hops_);
  if (given_ && *given_ == routes) {
    return std::nullopt;
  }
  given_ = routes;
  return routes;
}

// One for all addresses in no prefix: it would be a new list, and decisions made anew, with every pod that has one.
std::vector<LocalRoute> LocalSide::through_kernel_end(const ClusterView& own) const {
  std::vector<LocalRoute> routes;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    if (std::any_of(own.hosts.begin(), own.hosts.end(), [&](const Prefix& p) { return p.family() == family; })) {
      const IpAddress any = family == Family::kIpv4 ? IpAddress::ipv4(Be32{}) : IpAddress{};
      routes.push_back({Prefix(any, 0), node_.local, kernel_end_});
    }
  }
  for (const Prefix& prefix : own_prefixes(own)) {
    routes.push_back({prefix, node_.local, kernel_end_});
  }
  return routes;
}

std::optional<std::vector<LocalRoute>> LocalSide::through_kernel_routes(const std::vector<Prefix>& own) {
  const std::string& interface = node_.interfaces[node_.local.value()];
  const auto kernel_routes = node_.kernel->local_routes(own);
  if (!kernel_routes) {
    route_problems_.push_back(kernel_routes.error());
    route_call_failed_ = true;
    return std::nullopt;
  }
  std::vector<LocalRoute> routes;
  for (const KernelRoute& route : *kernel_routes) {
    if (route.interface != interface) {
      route_problems_.push_back(
          {"addresses of this cluster are routed by " + route.interface + ", which the gateway does not serve",
           "route " + route.prefix.to_string(), "route them by " + interface + ", or use a veth local device"});
      continue;
    }
    routes.push_back({route.prefix, node_.local, next_hop_of(node_.local, route)});
  }
  if (routes.empty() && !own.empty()) {
    route_problems_.push_back({"the kernel has no route to any address of this cluster", interface,
                               "add routes to the pods of this cluster by " + interface});
  }
  return routes;
}

AdjacencyId LocalSide::next_hop_of(DeviceId device, const KernelRoute& route) {
  if (!route.gateway) {
    return kNoAdjacency;
  }
  next_hops_.emplace(device, *route.gateway);
  return adjacencies_.next_hop(device, *route.gateway);
}

// In place of the route that has the node's pods, whose next hop stays for while the node is no peer.
void LocalSide::add_node_routes(const std::vector<NodeRoute>& nodes, std::vector<LocalRoute>& routes) {
  for (const NodeRoute& node : nodes) {
    const LocalRoute* around = nullptr;
    for (const LocalRoute& route : routes) {
      if (route.peer == kNoPeer && route.prefix.contains(node.prefix) &&
          (around == nullptr || around->prefix.contains(route.prefix))) {
        around = &route;
      }
    }
    LocalRoute route = around != nullptr ? *around : LocalRoute{node.prefix, node_.underlay, kNoAdjacency};
    route.prefix = node.prefix;
    route.peer = node.peer;
    std::erase_if(routes, [&](const LocalRoute& other) { return other.prefix == node.prefix; });
    routes.push_back(route);
  }
}

void LocalSide::add_native_routes(const std::vector<ClusterView>& clusters, std::vector<LocalRoute>& routes) {
  const std::string& interface = node_.interfaces[node_.underlay.value()];
  for (const ClusterView& cluster : clusters) {
    if (!cluster.native || !cluster.linked) {
      continue;
    }
    const auto kernel_routes = node_.kernel->local_routes(with_hosts(cluster));
    if (!kernel_routes) {
      route_problems_.push_back(kernel_routes.error());
      route_call_failed_ = true;
      continue;
    }
    bool any = false;
    for (const KernelRoute& route : *kernel_routes) {
      any = any || route.interface == interface;
      if (route.interface == interface) {
        routes.push_back({route.prefix, node_.underlay, next_hop_of(node_.underlay, route), kNoPeer, true});
      }
    }
    if (!any) {
      route_problems_.push_back({"cluster " + cluster.name +
                                     " has native routing, but the kernel has no route to it by " +
                                     "the underlay device",
                                 "cluster " + cluster.name,
                                 "add a route to its podCIDRs by " + interface +
                                     ", or give its Cluster object the encapsulation that its gateways have"});
    }
  }
}

std::set<Prefix> LocalSide::fleet_prefixes(const std::vector<ClusterView>& clusters,
                                           const std::vector<ServiceView>& services) const {
  std::set<Prefix> fleet;
  for (const ClusterView& cluster : clusters) {
    if (!cluster.local && cluster.linked) {
      fleet.insert(cluster.prefixes.begin(), cluster.prefixes.end());
      fleet.insert(cluster.hosts.begin(), cluster.hosts.end());
    }
    if (cluster.local) {
      std::transform(cluster.aliases.begin(), cluster.aliases.end(), std::inserter(fleet, fleet.end()),
                     [](const AliasPrefix& prefix) { return prefix.alias; });
    }
  }
  for (const ServiceView& service : services) {
    std::transform(service.vips.begin(), service.vips.end(), std::inserter(fleet, fleet.end()), host_prefix);
  }
  std::transform(translation_.begin(), translation_.end(), std::inserter(fleet, fleet.end()), host_prefix);
  return fleet;
}

void LocalSide::update_kernel(const std::vector<ClusterView>& clusters, const std::vector<ServiceView>& services,
                              bool kernel_changed) {
  const ClusterView* cluster = own_cluster(clusters);
  of_cluster_.clear();
  for (const ClusterView& each : clusters) {
    if (!each.local && each.linked) {
      of_cluster_[each.id] = each.prefixes;
    }
  }
  std::pair<std::vector<Prefix>, std::set<Prefix>> desired{
      cluster != nullptr ? own_prefixes(*cluster) : std::vector<Prefix>{}, fleet_prefixes(clusters, services)};
  if (!kernel_changed && set_ == desired) {
    return;
  }
  kernel_problems_.clear();
  kernel_call_failed_ = false;
  set_.reset();
  const std::vector<Prefix> fleet(desired.second.begin(), desired.second.end());
  if (auto closed = node_.kernel->set_closed_routes(node_.forwarding, desired.first, fleet); !closed) {
    kernel_problems_.push_back(closed.error());
    kernel_call_failed_ = true;
  }
  if (node_.kernel_end) {
    set_routes(desired.first, fleet);
  }
  if (kernel_problems_.empty()) {
    set_ = std::move(desired);
  }
}

bool LocalSide::take_moved(std::span<const ClusterEntry> changed, std::vector<Prefix>& added,
                           std::vector<Prefix>& removed) {
  std::set<Prefix> came, went;
  for (const ClusterEntry& cluster : changed) {
    if (cluster.local) {
      return false;
    }
    const std::vector<Prefix> now = cluster.linked ? cluster.prefixes : std::vector<Prefix>{};
    std::vector<Prefix>& before = of_cluster_[cluster.id];
    std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::inserter(came, came.end()));
    std::set_difference(before.begin(), before.end(), now.begin(), now.end(), std::inserter(went, went.end()));
    before = now;
  }
  std::set_difference(came.begin(), came.end(), went.begin(), went.end(), std::back_inserter(added));
  std::set_difference(went.begin(), went.end(), came.begin(), came.end(), std::back_inserter(removed));
  // A single address may be that of an endpoint or a service, too.
  const auto is_host = [](const Prefix& prefix) { return prefix.address() == prefix.last(); };
  return std::none_of(added.begin(), added.end(), is_host) && std::none_of(removed.begin(), removed.end(), is_host);
}

bool LocalSide::change_kernel(std::span<const ClusterEntry> changed) {
  std::vector<Prefix> added, removed;
  if (!set_ || !take_moved(changed, added, removed) ||
      !node_.kernel->change_closed_routes(node_.forwarding, set_->first, added, removed) ||
      (node_.kernel_end && !change_routes(added, removed))) {
    set_.reset();
    return false;
  }
  set_->second.insert(added.begin(), added.end());
  for (const Prefix& prefix : removed) {
    set_->second.erase(prefix);
  }
  return true;
}

// Another program's route that the kernel prefers to a new one is found by what it does with the prefix now.
bool LocalSide::change_routes(const std::vector<Prefix>& added, const std::vector<Prefix>& removed) {
  const std::string& interface = node_.kernel_end->interface;
  const auto done = node_.kernel->change_routes(interface, added, removed, route_options_);
  return done && *done && std::all_of(added.begin(), added.end(), [&](const Prefix& prefix) {
           const auto hop = node_.kernel->next_hop(prefix.address());
           return hop && hop->interface == interface;
         });
}

void LocalSide::set_routes(const std::vector<Prefix>& own, const std::vector<Prefix>& fleet) {
  const std::string& underlay = node_.interfaces[node_.underlay.value()];
  route_options_ = {};
  route_options_.source_ipv4 = node_source(Family::kIpv4, own, underlay);
  route_options_.source_ipv6 = node_source(Family::kIpv6, own, underlay);
  const auto report = node_.kernel->set_routes(node_.kernel_end->interface, fleet, route_options_);
  if (!report) {
    kernel_problems_.push_back(report.error());
    kernel_call_failed_ = true;
    return;
  }
  for (const ForeignRoute& foreign : report->foreign) {
    kernel_problems_.push_back({"another route bypasses the gateway for fleet traffic: " + foreign.text(),
                                "route " + foreign.prefix.to_string(), "remove it, or give it a higher metric"});
  }
}

void LocalSide::kernel_end_changed(const LinkState& link) {
  if (!node_.kernel_end || link.interface != node_.kernel_end->interface) {
    return;
  }
  if (link.removed) {
    link_problem_ =
        Error{"the local device was removed; local traffic is cut off", link.interface, "the gateway makes it again"};
    return;
  }
  if (!link.up) {
    link_problem_ = Error{"the local device is down; local traffic is cut off", link.interface,
                          "ip link set " + link.interface + " up"};
    return;
  }
  link_problem_.reset();
  node_.kernel_end = link;
  if (kernel_end_ != kNoAdjacency) {
    kernel_end_ = adjacencies_.fixed(node_.local, link.mac);
  }
}

void LocalSide::check_forwarding() {
  forwarding_problems_ =
      node_.kernel_end ? node_.kernel->forwarding_problems(node_.kernel_end->interface) : std::vector<Error>{};
}

std::vector<Error> LocalSide::problems() const {
  std::vector<Error> all = route_problems_;
  all.insert(all.end(), kernel_problems_.begin(), kernel_problems_.end());
  all.insert(all.end(), forwarding_problems_.begin(), forwarding_problems_.end());
  if (link_problem_) {
    all.push_back(*link_problem_);
  }
  return all;
}

}  // namespace isthmus
