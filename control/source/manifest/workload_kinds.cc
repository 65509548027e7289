// Pod and Node, and the corresponding Cilium kinds: addresses, nodes and identities.
#include <absl/strings/ascii.h>

#include <array>
#include <charconv>
#include <utility>

#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

// Identities that a hub may publish have 24 bits; larger ones are local to a node (Cilium's scopes 1 and 2).
constexpr std::uint64_t kMaxIdentity = 0xffffff;

void add_address(const YamlNode* node, const std::string& path, YamlErrors& errors, std::vector<IpAddress>& out) {
  if (node == nullptr || (node->kind == YamlNode::Kind::kScalar && node->text.empty())) {
    return;
  }
  if (const auto address = read_address(*node, path, errors)) {
    append_once(out, *address);
  }
}

// Reads [{type, <key>}] in order of preference: InternalIP, ExternalIP, others. CiliumInternalIP goes to `node.inner`;
// host and DNS names are skipped.
void read_node_addresses(const std::vector<YamlNode>& list, const std::string& path, std::string_view key,
                         YamlErrors& errors, NodeObject& node) {
  std::array<std::vector<IpAddress>, 3> ranked;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path(path, i), list[i].line, errors);
    const std::string type = item.text("type");
    if (type == "Hostname" || type == "InternalDNS" || type == "ExternalDNS") {
      continue;
    }
    add_address(
        item.get(key), item.path(key), errors,
        type == "CiliumInternalIP" ? node.inner : ranked[type == "InternalIP" ? 0 : (type == "ExternalIP" ? 1 : 2)]);
  }
  for (const auto& rank : ranked) {
    for (const IpAddress& address : rank) {
      append_once(node.addresses, address);
    }
  }
}

// Named ports of the containers, which policies may refer to. Unnamed and invalid ones are skipped.
std::vector<ServicePort> read_named_ports(const YamlMap& spec) {
  std::vector<ServicePort> out;
  YamlErrors ignored;
  for (const YamlNode& node : spec.list("containers")) {
    const YamlMap container(&node, "spec.containers", node.line, ignored);
    for (const YamlNode& item : container.list("ports")) {
      const YamlMap port(&item, "ports", item.line, ignored);
      const YamlNode* number = port.get("containerPort");
      const auto value = number == nullptr ? std::nullopt : read_number(*number, "", 1, 65535, ignored);
      const std::string name = port.text("name"), protocol = port.text("protocol");
      if (!name.empty() && value && (protocol.empty() || protocol == "TCP" || protocol == "UDP")) {
        append_once(out, ServicePort{name, protocol == "UDP" ? IpProtocol::kUdp : IpProtocol::kTcp,
                                     L4Port{static_cast<std::uint16_t>(*value)}});
      }
    }
  }
  return out;
}

}  // namespace

std::optional<ObjectValue> read_pod(const ObjectText& in) {
  PodObject pod;
  YamlErrors& errors = in.root.errors();
  const YamlMap spec = in.root.map("spec"), status = in.root.map("status");
  pod.node = spec.text("nodeName");
  if (const YamlNode* host = spec.get("hostNetwork")) {
    pod.host_network = read_boolean(*host, "spec.hostNetwork", errors).value_or(false);
  }
  pod.labels = string_map(in.labels);
  pod.named_ports = read_named_ports(spec);
  // The addresses of a terminated pod may have been reassigned.
  const std::string phase = status.text("phase");
  if (phase == "Succeeded" || phase == "Failed") {
    return pod;
  }
  const auto& list = status.list("podIPs");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path("status.podIPs", i), list[i].line, errors);
    add_address(item.get("ip"), item.path("ip"), errors, pod.addresses);
  }
  if (list.empty()) {
    add_address(status.get("podIP"), "status.podIP", errors, pod.addresses);
  }
  return pod;
}

std::optional<ObjectValue> read_node(const ObjectText& in) {
  NodeObject node;
  YamlErrors& errors = in.root.errors();
  const YamlMap spec = in.root.map("spec"), status = in.root.map("status");
  read_node_addresses(status.list("addresses"), "status.addresses", "address", errors, node);
  node.zone = in.labels.text("topology.kubernetes.io/zone");
  node.pod_prefixes = read_prefixes(spec.list("podCIDRs"), "spec.podCIDRs", errors);
  const YamlNode* single = spec.get("podCIDR");
  if (node.pod_prefixes.empty() && single != nullptr && !single->text.empty()) {
    if (const auto prefix = read_prefix(*single, "spec.podCIDR", errors)) {
      node.pod_prefixes.push_back(*prefix);
    }
  }
  return node;
}

std::optional<ObjectValue> read_cilium_node(const ObjectText& in) {
  NodeObject node;
  YamlErrors& errors = in.root.errors();
  const YamlMap spec = in.root.map("spec");
  const YamlMap ipam = spec.map("ipam");
  read_node_addresses(spec.list("addresses"), "spec.addresses", "ip", errors, node);
  const YamlMap health = spec.map("health"), ingress = spec.map("ingress");
  std::vector<IpAddress> at_ingress;
  for (const char* family : {"ipv4", "ipv6"}) {
    add_address(health.get(family), health.path(family), errors, node.health);
    add_address(ingress.get(family), ingress.path(family), errors, at_ingress);
  }
  node.ingress = std::move(at_ingress);
  node.pod_prefixes = read_prefixes(ipam.list("podCIDRs"), "spec.ipam.podCIDRs", errors);
  return node;
}

std::optional<ObjectValue> read_cilium_endpoint(const ObjectText& in) {
  CiliumEndpointObject endpoint;
  YamlErrors& errors = in.root.errors();
  const YamlMap status = in.root.map("status");
  const YamlMap identity = status.map("identity"), networking = status.map("networking");
  if (const YamlNode* id = identity.get("id")) {
    const auto number = read_number(*id, "status.identity.id", 0, kMaxIdentity, errors);
    endpoint.identity = Identity{static_cast<std::uint32_t>(number.value_or(0))};
  }
  const auto& list = networking.list("addressing");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path("status.networking.addressing", i), list[i].line, errors);
    add_address(item.get("ipv4"), item.path("ipv4"), errors, endpoint.addresses);
    add_address(item.get("ipv6"), item.path("ipv6"), errors, endpoint.addresses);
  }
  std::vector<IpAddress> node;
  add_address(networking.get("node"), "status.networking.node", errors, node);
  if (!node.empty()) {
    endpoint.node = node.front();
  }
  return endpoint;
}

std::optional<ObjectValue> read_cilium_identity(const ObjectText& in) {
  IdentityObject identity;
  std::uint32_t id = 0;
  const char* last = in.name.data() + in.name.size();
  const auto [end, error] = std::from_chars(in.name.data(), last, id);
  if (error != std::errc{} || end != last || id == 0 || id > kMaxIdentity) {
    in.root.error(in.metadata.line(), "metadata.name is " + shown(in.name) + ", not an identity number",
                  "name a CiliumIdentity by its number, 1 to 16777215");
  }
  identity.id = Identity{id};
  const YamlMap labels = in.root.map("security-labels");
  identity.labels = string_map(labels);
  return identity;
}

std::optional<ObjectValue> read_agent_config(const ObjectText& in) {
  constexpr std::string_view kKey = "policy-default-local-cluster";
  AgentConfigObject config;
  const YamlMap data = in.root.map("data");
  if (const YamlNode* node = data.get(kKey)) {
    const std::string text = absl::AsciiStrToLower(node->text);  // as Go's ParseBool
    const bool yes = text == "true" || text == "t" || text == "1";
    if (yes || text == "false" || text == "f" || text == "0") {
      config.default_local_cluster = yes;
    } else {
      data.warn(node->line, data.path(kKey) + " is " + shown(node->text) + "; it is ignored",
                "write \"true\" or \"false\"");
    }
  }
  return config;
}

}  // namespace isthmus
