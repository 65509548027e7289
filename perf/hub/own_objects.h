// What our own cluster's API server would tell: its Cluster and Gateway objects, the global services with their VIPs,
// pods, and policies that select them. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "control/model/objects.h"
#include "perf/hub/synthetic.h"

namespace isthmus::perf {

// Our pods' addresses. Packets go to those from kOwnBase + 1 on; as many others are selected by policies.
inline constexpr std::uint32_t kOwnBase = 0x0a3fc000, kOwnPods = 2100;
[[nodiscard]] Prefix own_prefix();
[[nodiscard]] Prefix vip_pool();

[[nodiscard]] std::vector<ObjectDelta> own_objects(const SyntheticFleet& fleet, const IpAddress& tunnel);
// Policy `number` of SyntheticFleet::policies in a version of its own: other ports than version - 1 allows.
[[nodiscard]] ObjectDelta own_policy(std::uint32_t number, std::uint32_t version);

}  // namespace isthmus::perf
