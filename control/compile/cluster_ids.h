// The cluster ids that a fleet can have, and which profiles name a cluster.
#pragma once

#include <algorithm>
#include <string>

#include "control/model/objects.h"
#include "dataplane/api/types.h"

namespace isthmus {

inline constexpr unsigned kMaxClusters = 255, kMaxClustersWide = 511;

[[nodiscard]] inline unsigned max_clusters(ClusterBits bits) {
  return bits.shift == 15 ? kMaxClustersWide : kMaxClusters;
}

[[nodiscard]] inline bool names_cluster(const ProfileObject& profile, const std::string& cluster) {
  return std::find(profile.clusters.begin(), profile.clusters.end(), cluster) != profile.clusters.end();
}
[[nodiscard]] inline bool links_clusters(const ProfileObject& profile) { return profile.clusters.size() > 1; }
// A profile of one cluster that says what its pods are called outside, and nothing of whom it reaches or what it may
// claim (isthmus allocate --alias).
[[nodiscard]] inline bool claims_aliases(const ProfileObject& profile) {
  return !links_clusters(profile) && std::any_of(profile.members.begin(), profile.members.end(),
                                                 [](const auto& each) { return !each.second.aliases.empty(); });
}

}  // namespace isthmus
