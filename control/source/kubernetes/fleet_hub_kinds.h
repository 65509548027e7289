// Parses the kinds of an Azure Fleet hub that make up endpoint sync (networking.fleet.azure.com,
// cluster.kubernetes-fleet.io). Pure. On errors every function appends to `errors` and returns nothing. Thread: any.
//
// A member can write only to its own namespace, fleet-member-<name>, so the namespace identifies the author; an object
// that names another cluster is an error. Names of exports are partly random and are not parsed; the references count.
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
[[nodiscard]] std::optional<FleetSliceExport> read_slice_export(const YamlNode& object, YamlErrors& errors);

// InternalServiceExport: a Service that a member exports.
struct FleetServiceExport {
  enum class Conflict : std::uint8_t { kUnknown, kFalse, kTrue };
  std::string cluster;
  FleetServiceName service;
  std::int64_t created = 0;
  Conflict conflict = Conflict::kUnknown;  // between its ports and those of the fleet's ServiceImport
  std::vector<ServicePort> ports;
};
[[nodiscard]] std::optional<FleetServiceExport> read_service_export(const YamlNode& object, YamlErrors& errors);

// ServiceImport: the clusters whose exports are accepted. Empty while the hub recomputes them.
[[nodiscard]] std::optional<std::set<std::string>> read_import_clusters(const YamlNode& object, YamlErrors& errors);

// MemberCluster and InternalMemberCluster.
struct FleetMember {
  bool joined = false;
  std::int64_t heartbeat = 0;  // last one of the agent that exports endpoints, seconds since 1970; 0: none
  std::int64_t period = 60;    // seconds
};
[[nodiscard]] std::optional<FleetMember> read_member(const YamlNode& object, YamlErrors& errors);

}  // namespace isthmus
