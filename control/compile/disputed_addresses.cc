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

bool EndpointSet::take_incumbent(const IpAddress& address, const std::string& cluster) {
  if (incumbents_.empty()) {
    return false;
  }
  const auto had = incumbents_.find(address);
  if (had == incumbents_.end() || had->second != cluster) {
    return false;
  }
  incumbents_.erase(had);
  return true;
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
