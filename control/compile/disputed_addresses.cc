// Addresses in no prefix that several clusters say: who has them, and who had them before a restart.
#include <algorithm>
#include <iterator>

#include "control/compile/endpoints.h"

namespace isthmus {

void EndpointSet::set_incumbents(const Incumbents& incumbents) {
  for (const auto& [name, cluster] : incumbents.clusters) {
    for (const IpAddress& address : cluster.addresses) {
      incumbents_.emplace(address, name);
    }
  }
}

void EndpointSet::end_incumbents(const Model::Listed& listed) {
  std::erase_if(incumbents_, [&](const auto& had) { return listed.all || listed.clusters.contains(had.second); });
}

bool EndpointSet::is_incumbent(const IpAddress& address, const std::string& cluster) const {
  if (incumbents_.empty()) {
    return false;
  }
  const auto had = incumbents_.find(address);
  return had != incumbents_.end() && had->second == cluster;
}

std::pair<bool, const std::string&> EndpointSet::order(const Claim& claim) const {
  return {claim.cluster != own_, claim.owner->cluster};
}

bool EndpointSet::goes_before(const Claim& claim, const IpAddress& address, const Address& state) const {
  const bool stands = (state.published && state.published_cluster == state.newest.cluster) ||
                      is_incumbent(address, state.newest.owner->cluster);
  return claim.cluster == own_ || (!stands && order(claim) < order(state.newest));
}

void EndpointSet::note_dispute(const IpAddress& address, const Address& state) {
  const ClusterId has = state.newest.cluster;
  const bool disputed = state.older != nullptr && std::any_of(state.older->begin(), state.older->end(),
                                                              [&](const Claim& c) { return c.cluster != has; });
  const auto before = disputed_.find(address);
  if (before == disputed_.end() ? !disputed : disputed && before->second == has) {
    return;
  }
  disputes_changed_ = true;
  if (before != disputed_.end()) {
    const auto of = disputed_of_.find(before->second);
    of->second.erase(address);
    if (of->second.empty()) {
      disputed_of_.erase(of);
    }
    disputed_.erase(before);
  }
  if (disputed) {
    disputed_.emplace(address, has);
    disputed_of_[has].insert(address);
  }
}

std::map<std::string, std::vector<IpAddress>> EndpointSet::disputed() const {
  std::map<std::string, std::vector<IpAddress>> disputed;
  for (const auto& [cluster, addresses] : disputed_of_) {
    if (cluster == own_) {
      continue;
    }
    const std::string& name = addresses_.find(*addresses.begin())->second.newest.owner->cluster;
    const auto count = static_cast<std::ptrdiff_t>(std::min(addresses.size(), kMaxDisputed));
    disputed[name].assign(addresses.begin(), std::next(addresses.begin(), count));
  }
  return disputed;
}

void EndpointSet::list_unkept(const Model& model, std::vector<Problem>& problems) const {
  for (const auto& [cluster, addresses] : disputed_of_) {
    if (cluster == own_ || addresses.size() <= kMaxDisputed) {
      continue;
    }
    const IpAddress& first = *std::next(addresses.begin(), static_cast<std::ptrdiff_t>(kMaxDisputed));
    const std::string& name = addresses_.find(first)->second.newest.owner->cluster;
    const auto object = model.find<ClusterObject>({ObjectKind::kCluster, {}, {}, name});
    problems.push_back({"cluster " + name + " has " + std::to_string(addresses.size()) +
                            " addresses in no prefix that other clusters say too; of those only the first " +
                            std::to_string(kMaxDisputed) + " stay with it over a restart of this gateway, " +
                            first.to_string() + " and those above it may be another cluster's then",
                        object ? object.provenance.text() : std::string(),
                        "remove the addresses from the clusters that do not have them, or give each cluster prefixes "
                        "for its own (podCIDRs and nodeCIDRs of its Cluster object)"});
  }
}

}  // namespace isthmus
