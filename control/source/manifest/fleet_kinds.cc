// The kinds of isthmus.io/v1alpha1. They are ours, so a key that is not known is a fault.
#include <set>

#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

YamlMap open_spec(const ObjectText& in, const std::vector<std::string_view>& known) {
  refuse_unknown_keys(*in.root.node(), "", {"apiVersion", "kind", "metadata", "spec", "status"}, in.root.faults());
  if (in.root.require("spec", "write spec: with " + alternatives(known)) == nullptr) {
    return in.root.map("spec");
  }
  YamlMap spec = in.root.map("spec");
  if (spec.present()) {
    refuse_unknown_keys(*spec.node(), "spec", known, in.root.faults());
  }
  return spec;
}

std::optional<std::string> read_cluster_name(const YamlNode& node, const std::string& path, YamlFaults& faults) {
  auto name = read_text(node, path, faults);
  if (name && !is_label(*name, kClusterNameLength)) {
    faults.push_back({node.line, path + " is " + shown(*name) + ", not a cluster's name",
                      "write 1 to 32 characters of a-z, 0-9 and -"});
    return std::nullopt;
  }
  return name;
}

}  // namespace

std::optional<ObjectValue> read_cluster(const ObjectText& in) {
  const YamlMap spec = open_spec(in, {"id", "podCIDRs", "nodeCIDRs"});
  if (!spec.present()) {
    return std::nullopt;
  }
  YamlFaults& faults = in.root.faults();
  ClusterObject cluster;
  if (!is_label(in.name, kClusterNameLength)) {
    in.root.fault(in.metadata.line(), "metadata.name is " + shown(in.name) + ", not a cluster's name",
                  "write 1 to 32 characters of a-z, 0-9 and -");
  }
  if (const YamlNode* id = spec.require("id", "write the cluster's number, 1 to 255 (or 511)")) {
    cluster.id = ClusterId{static_cast<std::uint16_t>(read_number(*id, "spec.id", 1, 511, faults).value_or(0))};
  }
  if (const YamlNode* list = spec.require("podCIDRs", "write the blocks of its pods, such as [10.1.0.0/16]")) {
    cluster.pod_prefixes = read_prefixes(read_list(list, "spec.podCIDRs", faults), "spec.podCIDRs", faults);
    if (list->kind == YamlNode::Kind::kSequence && list->items.empty()) {
      spec.fault(list->line, "spec.podCIDRs is empty", "write the blocks of its pods, such as [10.1.0.0/16]");
    }
  }
  cluster.node_prefixes = read_prefixes(spec.list("nodeCIDRs"), "spec.nodeCIDRs", faults);
  return cluster;
}

std::optional<ObjectValue> read_gateway(const ObjectText& in) {
  const YamlMap spec = open_spec(in, {"cluster", "underlayAddress", "port", "encapsulation"});
  if (!spec.present()) {
    return std::nullopt;
  }
  YamlFaults& faults = in.root.faults();
  GatewayObject gateway;
  if (!is_label(in.name)) {
    in.root.fault(in.metadata.line(), "metadata.name is " + shown(in.name) + ", not a gateway's name",
                  "write 1 to 63 characters of a-z, 0-9 and -");
  }
  if (const YamlNode* cluster = spec.require("cluster", "write the name of its Cluster")) {
    gateway.cluster = read_cluster_name(*cluster, "spec.cluster", faults).value_or(std::string());
  }
  if (const YamlNode* address = spec.require("underlayAddress", "write the address other gateways reach it at")) {
    gateway.underlay = read_address(*address, "spec.underlayAddress", faults).value_or(IpAddress());
  }
  if (const YamlNode* port = spec.get("port")) {
    gateway.port = L4Port{static_cast<std::uint16_t>(read_number(*port, "spec.port", 1, 65535, faults).value_or(0))};
  }
  const YamlNode* encapsulation = spec.get("encapsulation");
  if (encapsulation != nullptr && encapsulation->text != "vxlan") {
    spec.fault(encapsulation->line, "spec.encapsulation is " + shown(encapsulation->text), "write vxlan");
  }
  return gateway;
}

std::optional<ObjectValue> read_profile(const ObjectText& in) {
  const YamlMap spec = open_spec(in, {"clusters", "maxConnectedClusters"});
  if (!spec.present()) {
    return std::nullopt;
  }
  YamlFaults& faults = in.root.faults();
  ProfileObject profile;
  std::set<std::string> seen;
  const YamlNode* clusters = spec.require("clusters", "write the names of the clusters to link, such as [east, west]");
  const auto& list = read_list(clusters, "spec.clusters", faults);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto name = read_cluster_name(list[i], item_path("spec.clusters", i), faults);
    if (name && !seen.insert(*name).second) {
      spec.fault(list[i].line, "spec.clusters names " + *name + " twice", "name each cluster once");
    } else if (name) {
      profile.clusters.push_back(*name);
    }
  }
  if (const YamlNode* most = spec.get("maxConnectedClusters")) {
    const auto value = read_number(*most, "spec.maxConnectedClusters", 255, 511, faults);
    if (value && *value != 255 && *value != 511) {
      spec.fault(most->line, "spec.maxConnectedClusters is " + std::to_string(*value), "write 255 or 511");
    }
    profile.max_connected_clusters = static_cast<unsigned>(value.value_or(255));
  }
  return profile;
}

}  // namespace isthmus
