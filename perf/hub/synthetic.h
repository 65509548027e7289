// A synthetic fleet as stored in a KVStoreMesh hub: keys and values of the cache layout, by number. Pure functions.
//
// Cluster c (1..clusters) has id c, nodes with a /25 each in 10.0.0.0/8, and up to 40 endpoints per node, with one of
// the cluster's 100 identities. A service has three backends in each of two clusters. Cluster 255 is ours and has no
// keys.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus::perf {

inline constexpr std::uint32_t kIdentities = 100;  // per cluster
inline constexpr std::uint32_t kEndpointsPerNode = 40;
inline constexpr std::uint32_t kOwnCluster = 255;

struct SyntheticFleet {
  std::uint32_t clusters = 250, endpoints = 4000, services = 5000;  // endpoints of one cluster
  std::uint32_t policies = 100;                                     // of our cluster; the hub has none
  [[nodiscard]] std::uint32_t nodes() const { return (endpoints + kEndpointsPerNode - 1) / kEndpointsPerNode; }
};

struct KeyValue {
  std::string key, value;
};

[[nodiscard]] std::string cluster_name(std::uint32_t cluster);
[[nodiscard]] std::uint32_t identity_of(std::uint32_t cluster, std::uint32_t number);
// The first of the cluster's 16,384 addresses.
[[nodiscard]] std::uint32_t base_of(std::uint32_t cluster);
[[nodiscard]] IpAddress endpoint_address(std::uint32_t cluster, std::uint32_t endpoint);
[[nodiscard]] IpAddress gateway_address(std::uint32_t cluster);

[[nodiscard]] KeyValue endpoint_entry(std::uint32_t cluster, std::uint32_t endpoint, std::uint32_t identity);
// A node that comes after the fleet was written, by number: of another cluster each, with a /25 that none has had. At
// most kNewNodes nodes of a cluster are different ones; a later one is one of them with a new /25.
inline constexpr std::uint32_t kNewNodes = 64;
[[nodiscard]] KeyValue new_node_entry(const SyntheticFleet& fleet, std::uint32_t number);
// The service in the first of its clusters, with three backends from `first_backend` on; service_entry's are those from
// service * 3 on.
[[nodiscard]] KeyValue changed_service_entry(const SyntheticFleet& fleet, std::uint32_t service,
                                             std::uint32_t first_backend);
// All entries of one cluster except its completion marks.
[[nodiscard]] std::vector<KeyValue> cluster_entries(const SyntheticFleet& fleet, std::uint32_t cluster);
[[nodiscard]] std::vector<KeyValue> completion_marks(std::uint32_t cluster);
[[nodiscard]] std::string service_name(std::uint32_t service);

}  // namespace isthmus::perf
