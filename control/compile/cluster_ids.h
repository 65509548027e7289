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

}  // namespace isthmus
