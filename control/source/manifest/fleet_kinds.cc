// The kinds of isthmus.io/v1alpha1. They are our own, so an unknown key is an error.
#include <optional>
#include <set>
#include <utility>

#include "config/model/special_prefixes.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

constexpr unsigned kMaxFleetClusters = 511;  // with maxConnectedClusters 511

YamlMap open_spec(const ObjectText& in, const std::vector<std::string_view>& known) {
  reject_unknown_keys(*in.root.node(), "", {"apiVersion", "kind", "metadata", "spec", "status"}, in.root.errors());
  if (in.root.require("spec", "write spec: with " + alternatives(known)) == nullptr) {
    return in.root.map("spec");
  }
  YamlMap spec = in.root.map("spec");
  if (spec.present()) {
    reject_unknown_keys(*spec.node(), "spec", known, in.root.errors());
  }
  return spec;
}

std::optional<std::string> read_cluster_name(const YamlNode& node, const std::string& path, YamlErrors& errors) {
  auto name = read_string(node, path, errors);
  if (name && !is_label(*name, kClusterNameLength)) {
    errors.push_back({node.line, path + " is " + shown(*name) + ", not a valid cluster name",
                      "write 1 to 32 characters of a-z, 0-9 and -"});
    return std::nullopt;
  }
  return name;
}

// Reads spec.encapsulation: one of the kinds for which `allowed` is true.
std::optional<EncapsulationKind> read_encapsulation(const YamlMap& spec, bool (*allowed)(const EncapsulationInfo&)) {
  const YamlNode* node = spec.get("encapsulation");
  if (node == nullptr) {
    return std::nullopt;
  }
  std::vector<std::string_view> words;
  for (const EncapsulationInfo& info : encapsulations()) {
    if (allowed(info)) {
      words.push_back(info.name);
    }
  }
  const auto word = read_text(*node, "spec.encapsulation", spec.errors());
  const auto kind = word ? encapsulation_named(*word) : std::nullopt;
  if (word && (!kind || !allowed(encapsulation_info(*kind)))) {
    spec.error(node->line, "spec.encapsulation is " + shown(*word), "write " + alternatives(words));
    return std::nullopt;
  }
  return kind;
}

bool any_kind(const EncapsulationInfo&) { return true; }
bool is_tunnel(const EncapsulationInfo& info) { return info.kind != EncapsulationKind::kNone; }

// One address, or a list of one of each family.
void read_underlay(const YamlNode& node, const char* path, GatewayObject& gateway, YamlErrors& errors) {
  if (node.kind != YamlNode::Kind::kSequence) {
    gateway.underlay = read_address(node, path, errors).value_or(IpAddress());
    return;
  }
  const auto& items = read_list(&node, path, errors);
  std::vector<IpAddress> addresses;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (const auto address = read_address(items[i], item_path(path, i), errors)) {
      addresses.push_back(*address);
    }
  }
  const bool one_each =
      addresses.size() == 1 || (addresses.size() == 2 && addresses[0].family() != addresses[1].family());
  if (addresses.size() == items.size() && !one_each) {
    errors.push_back({node.line, std::string(path) + " is not one address, or one of IPv4 and one of IPv6",
                      "write such as 192.0.2.1 or [192.0.2.1, \"2001:db8::1\"]"});
  }
  if (one_each) {
    gateway.underlay = addresses.front();
    gateway.more.assign(addresses.begin() + 1, addresses.end());
  }
}

// spec.underlayAddress, or spec.underlayAddresses: a field of a custom resource has one type, so that only in a file
// the first may be a list as well.
void read_addresses(const YamlMap& spec, GatewayObject& gateway) {
  const YamlNode* list = spec.get("underlayAddresses");
  if (list == nullptr) {
    if (const YamlNode* one = spec.require("underlayAddress", "write the address at which other gateways reach it")) {
      read_underlay(*one, "spec.underlayAddress", gateway, spec.errors());
    }
    return;
  }
  if (spec.get("underlayAddress") != nullptr) {
    spec.error(list->line, "spec has both underlayAddress and underlayAddresses", "write one of them");
  }
  if (list->kind == YamlNode::Kind::kSequence) {
    read_underlay(*list, "spec.underlayAddresses", gateway, spec.errors());
  } else {
    spec.error(list->line, "spec.underlayAddresses is " + std::string(list->kind_name()) + ", not a list",
               "write such as [192.0.2.1, \"2001:db8::1\"]");
  }
}

}  // namespace

std::optional<ObjectValue> read_cluster(const ObjectText& in) {
  const YamlMap spec = open_spec(in, {"id", "podCIDRs", "nodeCIDRs", "encapsulation"});
  if (!spec.present()) {
    return std::nullopt;
  }
  YamlErrors& errors = in.root.errors();
  ClusterObject cluster;
  if (!is_label(in.name, kClusterNameLength)) {
    in.root.error(in.metadata.line(), "metadata.name is " + shown(in.name) + ", not a valid cluster name",
                  "write 1 to 32 characters of a-z, 0-9 and -");
  }
  if (const YamlNode* id = spec.require("id", "write the cluster's id, 1 to 255 (or 511)")) {
    cluster.id =
        ClusterId{static_cast<std::uint16_t>(read_number(*id, "spec.id", 1, kMaxFleetClusters, errors).value_or(0))};
  }
  if (const YamlNode* list = spec.require("podCIDRs",
                                          "write the address blocks of its pods, such as [10.1.0.0/16]; []: "
                                          "none, each pod has a route")) {
    cluster.pod_prefixes = read_prefixes(read_list(list, "spec.podCIDRs", errors), "spec.podCIDRs", errors);
  }
  cluster.node_prefixes = read_prefixes(spec.list("nodeCIDRs"), "spec.nodeCIDRs", errors);
  cluster.encapsulation = read_encapsulation(spec, any_kind).value_or(cluster.encapsulation);
  return cluster;
}

std::optional<ObjectValue> read_gateway(const ObjectText& in) {
  const YamlMap spec = open_spec(in, {"cluster", "underlayAddress", "underlayAddresses", "port", "encapsulation"});
  if (!spec.present()) {
    return std::nullopt;
  }
  YamlErrors& errors = in.root.errors();
  GatewayObject gateway;
  if (!is_gateway_name(in.name)) {
    in.root.error(in.metadata.line(), "metadata.name is " + shown(in.name) + ", not a valid gateway name",
                  "write " + std::string(kGatewayNameKind));
  }
  if (const YamlNode* cluster = spec.require("cluster", "write the name of its Cluster")) {
    gateway.cluster = read_cluster_name(*cluster, "spec.cluster", errors).value_or(std::string());
  }
  read_addresses(spec, gateway);
  gateway.encapsulation = read_encapsulation(spec, is_tunnel).value_or(gateway.encapsulation);
  gateway.port = encapsulation_info(gateway.encapsulation).default_port;
  if (const YamlNode* port = spec.get("port")) {
    gateway.port = L4Port{static_cast<std::uint16_t>(read_number(*port, "spec.port", 1, 65535, errors).value_or(0))};
  }
  return gateway;
}

// `distinct`: those of the members before it.
void read_member_aliases(const YamlMap& member, const std::string& path, const std::string& cluster,
                         ProfileObject::Member& allowed, DistinctAliases& distinct, YamlErrors& errors) {
  const YamlNode* const node = member.get("aliasCIDRs");
  if (node == nullptr) {
    return;
  }
  auto pairs = pair_aliases(allowed.pod_prefixes.value_or(std::vector<Prefix>{}),
                            read_prefixes(member.list("aliasCIDRs"), path + ".aliasCIDRs", errors), path + ".podCIDRs");
  const auto wrong = pairs ? distinct.add(cluster, *pairs) : std::optional(pairs.error());
  if (wrong) {
    member.error(node->line, path + ".aliasCIDRs: " + wrong->what, wrong->fix);
  } else {
    allowed.aliases = *std::move(pairs);
  }
}

// What single clusters of the profile may claim.
void read_members(const YamlMap& spec, const std::set<std::string>& clusters, ProfileObject& profile,
                  YamlErrors& errors) {
  const std::vector<YamlNode>& members = spec.list("members");
  DistinctAliases distinct;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::string path = item_path("spec.members", i);
    const YamlMap member(&members[i], path, members[i].line, errors);
    member.reject_others(
        {"cluster", "podCIDRs", "aliasCIDRs", "vipPools", "endpoints", "services", "megabytes", "gateways"});
    const YamlNode* name = member.require("cluster", "write the name of one of spec.clusters");
    const auto cluster = name == nullptr ? std::nullopt : read_cluster_name(*name, path + ".cluster", errors);
    if (!cluster) {
      continue;
    }
    if (clusters.count(*cluster) == 0) {
      member.error(name->line, path + ".cluster is " + shown(*cluster) + ", which spec.clusters does not name",
                   "add it there, or remove the member");
    }
    if (profile.members.count(*cluster) != 0) {
      member.error(name->line, path + ".cluster is " + shown(*cluster) + ", which has been described above",
                   "describe each cluster once");
    }
    ProfileObject::Member& allowed = profile.members[*cluster];
    if (member.get("podCIDRs") != nullptr) {
      allowed.pod_prefixes = read_prefixes(member.list("podCIDRs"), path + ".podCIDRs", errors);
    }
    read_member_aliases(member, path, *cluster, allowed, distinct, errors);
    allowed.vip_pools = read_prefixes(member.list("vipPools"), path + ".vipPools", errors);
    const auto limit = [&](std::string_view key, std::optional<std::uint32_t>& out) {
      const YamlNode* node = member.get(key);
      const auto value = node == nullptr ? std::nullopt : read_number(*node, member.path(key), 0, 100'000'000, errors);
      out = value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
    };
    limit("endpoints", allowed.endpoints);
    limit("services", allowed.services);
    limit("megabytes", allowed.megabytes);
    limit("gateways", allowed.gateways);
  }
}

std::optional<ObjectValue> read_profile(const ObjectText& in) {
  const YamlMap spec = open_spec(in, {"clusters", "maxConnectedClusters", "vipPools", "members"});
  if (!spec.present()) {
    return std::nullopt;
  }
  YamlErrors& errors = in.root.errors();
  ProfileObject profile;
  std::set<std::string> seen;
  const YamlNode* clusters = spec.require("clusters", "write the names of the clusters to link, such as [east, west]");
  const auto& list = read_list(clusters, "spec.clusters", errors);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto name = read_cluster_name(list[i], item_path("spec.clusters", i), errors);
    if (name && !seen.insert(*name).second) {
      spec.error(list[i].line, "spec.clusters names " + *name + " twice", "name each cluster once");
    } else if (name) {
      profile.clusters.push_back(*name);
    }
  }
  if (list.size() > kMaxFleetClusters) {
    spec.error(clusters->line, "spec.clusters names " + std::to_string(list.size()) + " clusters",
               "name no more than " + std::to_string(kMaxFleetClusters));
  }
  profile.vip_pools = read_prefixes(spec.list("vipPools"), "spec.vipPools", errors);
  read_members(spec, seen, profile, errors);
  if (const YamlNode* max_clusters = spec.get("maxConnectedClusters")) {
    const auto value = read_either_number(*max_clusters, "spec.maxConnectedClusters", 255, kMaxFleetClusters, errors);
    profile.max_connected_clusters = value.value_or(profile.max_connected_clusters);
  }
  return profile;
}

}  // namespace isthmus
