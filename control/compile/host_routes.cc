#include "control/compile/host_routes.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "control/compile/locations.h"

namespace isthmus {
namespace {

bool overlaps_one(const std::vector<Prefix>& sorted, const Prefix& prefix) {
  const auto after = std::upper_bound(sorted.begin(), sorted.end(), prefix);
  return (after != sorted.begin() && std::prev(after)->contains(prefix)) ||
         (after != sorted.end() && prefix.contains(*after));
}

Prefix parent_of(const Prefix& prefix) { return {prefix.address(), static_cast<std::uint8_t>(prefix.length() - 1)}; }

// The other half of the parent.
Prefix sibling_of(const Prefix& prefix) {
  const Prefix parent = parent_of(prefix);
  const Prefix low(parent.address(), prefix.length());
  return prefix == low ? Prefix(parent.last(), prefix.length()) : low;
}

}  // namespace

void HostRoutes::put(ClusterId cluster, const IpAddress& address) {
  const auto [at, fresh] = at_.try_emplace(address, cluster);
  if (!fresh) {
    if (at->second == cluster) {
      return;
    }
    remove(address);
    at_.emplace(address, cluster);
  }
  Cluster& its = clusters_[cluster];
  its.changed = true;
  Prefix block(address, 128);
  while (block.length() > 1 && its.blocks.erase(sibling_of(block)) != 0) {
    block = parent_of(block);
  }
  its.blocks.insert(block);
}

void HostRoutes::remove(const IpAddress& address) {
  const auto at = at_.find(address);
  if (at == at_.end()) {
    return;
  }
  Cluster& its = clusters_.at(at->second);
  its.changed = true;
  at_.erase(at);
  const auto around = std::prev(its.blocks.upper_bound(Prefix(address, 128)));
  Prefix block = *around;
  its.blocks.erase(around);
  while (block.address() != block.last()) {
    const Prefix half(address, static_cast<std::uint8_t>(block.length() + 1));
    its.blocks.insert(sibling_of(half));
    block = half;
  }
}

void HostRoutes::clear() {
  at_.clear();
  for (auto& [id, cluster] : clusters_) {
    cluster.blocks.clear();
    cluster.changed = true;
  }
}

void HostRoutes::update(std::span<const EndpointEntry> upsert, std::span<const IpAddress> removed, const Fleet& fleet) {
  for (const IpAddress& address : removed) {
    remove(address);
  }
  for (const EndpointEntry& entry : upsert) {
    const bool own = entry.cluster == fleet.own.cluster;
    const bool possible =
        entry.address.family() == Family::kIpv4 ? fleet.ipv4_without_prefixes : fleet.ipv6_without_prefixes;
    const bool apart = possible && !is_node_identity(entry.identity) && !fleet.is_tunnel_end(entry.address);
    if ((own || apart) && fleet.owner(entry.address) == nullptr) {
      put(entry.cluster, entry.address);
    } else {
      remove(entry.address);
    }
  }
}

std::vector<Prefix> HostRoutes::first_of(const Cluster& cluster, std::size_t most) {
  std::vector<Prefix> routes, fresh;
  for (const Prefix& block : cluster.blocks) {
    (overlaps_one(cluster.routes, block) ? routes : fresh).push_back(block);
  }
  routes.insert(routes.end(), fresh.begin(), fresh.end());
  routes.resize(std::min(routes.size(), most));
  std::sort(routes.begin(), routes.end());
  return routes;
}

bool HostRoutes::settle(const Fleet& fleet) {
  bool changed = false;
  for (auto& [id, cluster] : clusters_) {
    if (!std::exchange(cluster.changed, false)) {
      continue;
    }
    const bool own = id == fleet.own.cluster;
    const std::size_t most = own ? cluster.blocks.size() : fleet.admission.prefixes_per_cluster();
    std::vector<Prefix> routes = first_of(cluster, most);
    changed = changed || routes != cluster.routes;
    cluster.routes = std::move(routes);
  }
  problems_.clear();
  for (const auto& [id, cluster] : clusters_) {
    if (cluster.routes.size() < cluster.blocks.size()) {
      const auto left_out = std::find_if(cluster.blocks.begin(), cluster.blocks.end(), [&](const Prefix& block) {
        return !std::binary_search(cluster.routes.begin(), cluster.routes.end(), block);
      });
      const FleetCluster* its = fleet.find(id);
      const std::string name = its == nullptr ? std::to_string(id.value()) : its->name;
      problems_.push_back({"the pods of cluster " + name + " need " + std::to_string(cluster.blocks.size()) +
                               " routes, of which " + std::to_string(cluster.routes.size()) + " are made; " +
                               left_out->to_string() + " is the first that is not",
                           "cluster " + name,
                           "name its pods' subnets (admission.pods), or allow more (admission.prefixes_per_cluster)"});
    }
  }
  return changed;
}

const std::vector<Prefix>& HostRoutes::of(ClusterId cluster) const {
  static const std::vector<Prefix> kNone;
  const auto at = clusters_.find(cluster);
  return at == clusters_.end() ? kNone : at->second.routes;
}

}  // namespace isthmus
