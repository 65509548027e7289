#include "control/source/kubernetes/fleet_hub_kinds.h"

#include <algorithm>

#include "config/yaml/read.h"
#include "config/yaml/rfc3339.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

constexpr std::string_view kMemberNamespace = "fleet-member-";

std::int64_t read_time(const YamlMap& map, std::string_view key) { return parse_rfc3339(map.text(key)).value_or(0); }

// The status of the condition of that type; empty when absent.
std::string condition(const YamlMap& status, std::string_view type) {
  for (const YamlNode& node : status.list("conditions")) {
    const YamlMap item(&node, "status.conditions", node.line, status.errors());
    if (item.text("type") == type) {
      return item.text("status");
    }
  }
  return {};
}

// A name given by an object of the hub, checked like the name of the object it refers to.
std::string read_name(const YamlMap& map, std::string_view key, bool subdomain) {
  std::string name = map.text(key);
  if (subdomain ? !is_subdomain(name) : !is_label(name)) {
    map.error(map.line(), map.path(key) + " is " + shown(name) + ", not a valid name",
              "check the member's agents, which write it");
  }
  return name;
}

// The cluster that a reference names. It must be the one in whose namespace the object is.
std::string read_exporter(const YamlMap& metadata, const YamlMap& reference) {
  std::string cluster = read_name(reference, "clusterId", false);
  const std::string ns = metadata.text("namespace");
  if (ns != std::string(kMemberNamespace) + cluster) {
    reference.error(
        reference.line(),
        reference.path("clusterId") + " is " + shown(cluster) + ", but the object is in namespace " + shown(ns),
        "a member may export only its own endpoints: find out who wrote the object");
  }
  return cluster;
}

std::vector<SliceEndpoint> read_endpoints(const YamlMap& spec) {
  std::vector<SliceEndpoint> out;
  const auto& list = spec.list("endpoints");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path("spec.endpoints", i), list[i].line, spec.errors());
    SliceEndpoint endpoint;
    const auto& addresses = item.list("addresses");
    for (std::size_t j = 0; j < addresses.size(); ++j) {
      const std::string path = item_path(item.path("addresses"), j);
      const auto address = read_address(addresses[j], path, spec.errors());
      if (address && !address->is_ipv4()) {
        item.error(item.line(), path + " is " + address->to_string() + ", not of addressType IPv4",
                   "exports of a Fleet hub are IPv4 only");
      } else if (address) {
        append_once(endpoint.addresses, *address);
      }
    }
    out.push_back(std::move(endpoint));
  }
  return out;
}

}  // namespace

std::optional<FleetSliceExport> read_slice_export(const YamlNode& object, YamlErrors& errors) {
  const YamlMap root(&object, "", object.line, errors);
  const YamlMap metadata = root.map("metadata"), spec = root.map("spec");
  const YamlMap reference = spec.map("endpointSliceReference"), owner = spec.map("ownerServiceReference");
  FleetSliceExport out;
  out.cluster = read_exporter(metadata, reference);
  out.slice = read_name(reference, "name", true);
  out.uid = reference.text("uid");
  out.service = {read_name(owner, "namespace", false), read_name(owner, "name", false)};
  if (const YamlNode* generation = reference.get("generation")) {
    out.generation = static_cast<std::int64_t>(
        read_number(*generation, reference.path("generation"), 0, INT64_MAX, errors).value_or(0));
  }
  out.created = read_time(metadata, "creationTimestamp");
  const std::string type = spec.text("addressType");
  if (!type.empty() && type != "IPv4") {
    spec.error(spec.line(), "spec.addressType is " + shown(type), "exports of a Fleet hub are IPv4 only");
  }
  out.value.service = out.service.second;
  out.value.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kMayBeAbsent, errors);
  out.value.endpoints = read_endpoints(spec);
  return errors.empty() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<FleetServiceExport> read_service_export(const YamlNode& object, YamlErrors& errors) {
  const YamlMap root(&object, "", object.line, errors);
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
  out.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kRequired, errors);
  return errors.empty() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<std::set<std::string>> read_import_clusters(const YamlNode& object, YamlErrors& errors) {
  const YamlMap root(&object, "", object.line, errors);
  const YamlMap status = root.map("status");
  std::set<std::string> out;
  for (const YamlNode& node : status.list("clusters")) {
    const YamlMap item(&node, "status.clusters", node.line, errors);
    out.insert(item.text("cluster"));
  }
  return errors.empty() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<FleetMember> read_member(const YamlNode& object, YamlErrors& errors) {
  const YamlMap root(&object, "", object.line, errors);
  const YamlMap spec = root.map("spec"), status = root.map("status");
  FleetMember out;
  out.joined = condition(status, "Joined") == "True";
  if (const YamlNode* period = spec.get("heartbeatPeriodSeconds")) {
    out.period =
        static_cast<std::int64_t>(read_number(*period, "spec.heartbeatPeriodSeconds", 1, 86400, errors).value_or(60));
  }
  std::int64_t exporter = 0, any = 0;
  for (const YamlNode& node : status.list("agentStatus")) {
    const YamlMap item(&node, "status.agentStatus", node.line, errors);
    const std::int64_t received = read_time(item, "lastReceivedHeartbeat");
    any = std::max(any, received);
    exporter = item.text("type") == "ServiceExportImportAgent" ? std::max(exporter, received) : exporter;
  }
  out.heartbeat = exporter != 0 ? exporter : any;
  return errors.empty() ? std::optional(out) : std::nullopt;
}

}  // namespace isthmus
