// Addresses in no prefix that several clusters say: who has them, and who had them before a restart.
#include <algorithm>

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
  if (!disputed) {
    disputes_changed_ = disputed_.erase(address) != 0 || disputes_changed_;
  } else if (const auto [at, added] = disputed_.try_emplace(address, has); added || at->second != has) {
    at->second = has;
    disputes_changed_ = true;
  }
}

std::map<std::string, std::vector<IpAddress>> EndpointSet::disputed() const {
  std::map<std::string, std::vector<IpAddress>> disputed;
  for (const auto& [address, has] : disputed_) {
    if (has == own_) {
      continue;
    }
    std::vector<IpAddress>& of = disputed[addresses_.find(address)->second.newest.owner->cluster];
    if (of.size() < kMaxDisputed) {
      of.push_back(address);
    }
  }
  return disputed;
}

}  // namespace isthmus
