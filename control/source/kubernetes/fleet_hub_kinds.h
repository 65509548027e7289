// The kinds of an Azure Fleet hub that endpoint sync consists of (networking.fleet.azure.com,
// cluster.kubernetes-fleet.io), as values. Reading is pure; faults go to the list that is given, and nothing is
// returned then. Thread: any.
//
// A member writes only into its own namespace, fleet-member-<name>, so that namespace says who it is: an object that
// names another cluster is refused. Names of exports are random in part and say nothing; the references count.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/yaml/tree.h"
#include "control/model/objects.h"

namespace isthmus {

using FleetServiceName = std::pair<std::string, std::string>;  // namespace, name

// EndpointSliceExport: one EndpointSlice of a member.
struct FleetSliceExport {
  std::string cluster, slice, uid;  // of the source slice
  FleetServiceName service;
  std::int64_t generation = 0, created = 0;  // of the source slice; of the export
  SliceObject value;
};
[[nodiscard]] std::optional<FleetSliceExport> read_slice_export(const YamlNode& object, YamlFaults& faults);

// InternalServiceExport: a Service that a member exports.
struct FleetServiceExport {
  enum class Conflict : std::uint8_t { kUnknown, kFalse, kTrue };
  std::string cluster;
  FleetServiceName service;
  std::int64_t created = 0;
  Conflict conflict = Conflict::kUnknown;  // of its ports with those that the fleet agreed on
  std::vector<ServicePort> ports;
};
[[nodiscard]] std::optional<FleetServiceExport> read_service_export(const YamlNode& object, YamlFaults& faults);

// ServiceImport: the clusters whose exports stand. Empty while the hub elects.
[[nodiscard]] std::optional<std::set<std::string>> read_import_clusters(const YamlNode& object, YamlFaults& faults);

// MemberCluster and InternalMemberCluster.
struct FleetMember {
  bool joined = false;
  std::int64_t heartbeat = 0;  // of the agent that exports endpoints, seconds since 1970; 0: none was received
  std::int64_t period = 60;    // seconds
};
[[nodiscard]] std::optional<FleetMember> read_member(const YamlNode& object, YamlFaults& faults);

}  // namespace isthmus
