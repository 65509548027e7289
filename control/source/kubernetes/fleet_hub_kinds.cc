#include "control/source/kubernetes/fleet_hub_kinds.h"

#include <algorithm>

#include "config/yaml/read.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

constexpr std::string_view kMemberNamespace = "fleet-member-";

std::int64_t read_time(const YamlMap& map, std::string_view key) { return parse_rfc3339(map.text(key)).value_or(0); }

// The status of a condition; empty when there is none of the type.
std::string condition(const YamlMap& status, std::string_view type) {
  for (const YamlNode& node : status.list("conditions")) {
    const YamlMap item(&node, "status.conditions", node.line, status.faults());
    if (item.text("type") == type) {
      return item.text("status");
    }
  }
  return {};
}

// A name that the hub's objects give, checked as the objects that bear it are.
std::string read_name(const YamlMap& map, std::string_view key, bool subdomain) {
  std::string name = map.text(key);
  if (subdomain ? !is_subdomain(name) : !is_label(name)) {
    map.fault(map.line(), map.path(key) + " is " + shown(name) + ", not a name",
              "look at the member's agents: they write it");
  }
  return name;
}

// The cluster that a reference names, which must be the one whose namespace the object lies in.
std::string read_exporter(const YamlMap& metadata, const YamlMap& reference) {
  std::string cluster = read_name(reference, "clusterId", false);
  const std::string name_space = metadata.text("namespace");
  if (name_space != std::string(kMemberNamespace) + cluster) {
    reference.fault(reference.line(),
                    reference.path("clusterId") + " is " + shown(cluster) + ", but the object lies in namespace " +
                        shown(name_space),
                    "a member may speak only for itself: find out who wrote the object");
  }
  return cluster;
}

std::vector<SliceEndpoint> read_endpoints(const YamlMap& spec) {
  std::vector<SliceEndpoint> out;
  const auto& list = spec.list("endpoints");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path("spec.endpoints", i), list[i].line, spec.faults());
    SliceEndpoint endpoint;
    const auto& addresses = item.list("addresses");
    for (std::size_t j = 0; j < addresses.size(); ++j) {
      const std::string path = item_path(item.path("addresses"), j);
      const auto address = read_address(addresses[j], path, spec.faults());
      if (address && !address->is_ipv4()) {
        item.fault(item.line(), path + " is " + address->to_string() + ", not of addressType IPv4",
                   "the hub's exports are IPv4");
      } else if (address) {
        append_once(endpoint.addresses, *address);
      }
    }
    out.push_back(std::move(endpoint));
  }
  return out;
}

}  // namespace

std::optional<FleetSliceExport> read_slice_export(const YamlNode& object, YamlFaults& faults) {
  const YamlMap root(&object, "", object.line, faults);
  const YamlMap metadata = root.map("metadata"), spec = root.map("spec");
  const YamlMap reference = spec.map("endpointSliceReference"), owner = spec.map("ownerServiceReference");
  FleetSliceExport out;
  out.cluster = read_exporter(metadata, reference);
  out.slice = read_name(reference, "name", true);
  out.uid = reference.text("uid");
  out.service = {read_name(owner, "namespace", false), read_name(owner, "name", false)};
  if (const YamlNode* generation = reference.get("generation")) {
    out.generation = static_cast<std::int64_t>(
        read_number(*generation, reference.path("generation"), 0, INT64_MAX, faults).value_or(0));
  }
  out.created = read_time(metadata, "creationTimestamp");
  const std::string type = spec.text("addressType");
  if (!type.empty() && type != "IPv4") {
    spec.fault(spec.line(), "spec.addressType is " + shown(type), "the hub's exports are IPv4");
  }
  out.value.service = out.service.second;
  out.value.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kMayBeAbsent, faults);
  out.value.endpoints = read_endpoints(spec);
  return faults.empty() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<FleetServiceExport> read_service_export(const YamlNode& object, YamlFaults& faults) {
  const YamlMap root(&object, "", object.line, faults);
  const YamlMap metadata = root.map("metadata"), spec = root.map("spec"), status = root.map("status");
  const YamlMap reference = spec.map("serviceReference");
  FleetServiceExport out;
  out.cluster = read_exporter(metadata, reference);
  out.service = {read_name(reference, "namespace", false), read_name(reference, "name", false)};
  out.created = read_time(metadata, "creationTimestamp");
  const std::string conflict = condition(status, "Conflict");
  out.conflict = conflict == "False"  ? FleetServiceExport::Conflict::kFalse
                 : conflict == "True" ? FleetServiceExport::Conflict::kTrue
                                      : FleetServiceExport::Conflict::kUnknown;
  out.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kRequired, faults);
  return faults.empty() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<std::set<std::string>> read_import_clusters(const YamlNode& object, YamlFaults& faults) {
  const YamlMap root(&object, "", object.line, faults);
  const YamlMap status = root.map("status");
  std::set<std::string> out;
  for (const YamlNode& node : status.list("clusters")) {
    const YamlMap item(&node, "status.clusters", node.line, faults);
    out.insert(item.text("cluster"));
  }
  return faults.empty() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<FleetMember> read_member(const YamlNode& object, YamlFaults& faults) {
  const YamlMap root(&object, "", object.line, faults);
  const YamlMap spec = root.map("spec"), status = root.map("status");
  FleetMember out;
  out.joined = condition(status, "Joined") == "True";
  if (const YamlNode* period = spec.get("heartbeatPeriodSeconds")) {
    out.period =
        static_cast<std::int64_t>(read_number(*period, "spec.heartbeatPeriodSeconds", 1, 86400, faults).value_or(60));
  }
  std::int64_t exporter = 0, any = 0;
  for (const YamlNode& node : status.list("agentStatus")) {
    const YamlMap item(&node, "status.agentStatus", node.line, faults);
    const std::int64_t heard = read_time(item, "lastReceivedHeartbeat");
    any = std::max(any, heard);
    exporter = item.text("type") == "ServiceExportImportAgent" ? std::max(exporter, heard) : exporter;
  }
  out.heartbeat = exporter != 0 ? exporter : any;
  return faults.empty() ? std::optional(out) : std::nullopt;
}

}  // namespace isthmus
