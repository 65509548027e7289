// Decodes cluster configurations, nodes and registered gateways.
#include <algorithm>

#include "config/yaml/read.h"
#include "control/source/etcd/json_value.h"
#include "control/source/etcd/mask.h"
#include "control/source/etcd/values.h"

namespace isthmus {
namespace {

using nlohmann::json;

constexpr unsigned kWide = 511;

// "10.1.2.0/24", or Go's net.IPNet: an address and a mask in base64.
std::optional<Prefix> read_cidr(const json& value, const std::string& path, ValueError& error) {
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    const auto prefix = text.find('/') == std::string::npos ? std::nullopt : Prefix::parse(text);
    if (!prefix && error.empty()) {
      error = path + " is not a prefix: " + shown(text);
    }
    return prefix;
  }
  const JsonObject object(&value, path + ".", error);
  const std::string text = object.text("IP"), mask = object.text("Mask");
  const auto address = IpAddress::parse(text);
  const auto length = mask_length(mask);
  if (!address || !length || length->bytes != (address->is_ipv4() ? 4 : 16)) {
    object.add_error(path + " is not a prefix: " + shown(text + " with the mask " + mask));
    return std::nullopt;
  }
  return Prefix(*address, length->bits);
}

bool is_name_type(const std::string& type) {
  return type == "Hostname" || type == "InternalDNS" || type == "ExternalDNS";
}

// The node's underlay address, per family: InternalIP, else ExternalIP, else any other except CiliumInternalIP.
std::vector<IpAddress> choose_addresses(const std::vector<std::pair<std::string, IpAddress>>& all) {
  std::vector<IpAddress> chosen;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto rank = [](const std::string& type) { return type == "InternalIP" ? 0 : type == "ExternalIP" ? 1 : 2; };
    const std::pair<std::string, IpAddress>* best = nullptr;
    for (const auto& candidate : all) {
      if (candidate.second.family() == family && candidate.first != "CiliumInternalIP" &&
          (best == nullptr || rank(candidate.first) < rank(best->first))) {
        best = &candidate;
      }
    }
    if (best != nullptr) {
      chosen.push_back(best->second);
    }
  }
  return chosen;
}

std::vector<std::pair<std::string, IpAddress>> read_node_addresses(const JsonObject& node) {
  std::vector<std::pair<std::string, IpAddress>> addresses;
  node.each("IPAddresses", [&](const json& value, const std::string& path) {
    const JsonObject entry(&value, path + ".", node.error());
    const std::string type = entry.text("Type"), text = entry.text("IP");
    const auto address = IpAddress::parse(text);
    if (address) {
      addresses.emplace_back(type, *address);
    } else if (!is_name_type(type)) {
      entry.add_error(path + ".IP is not an address: " + shown(text));
    }
  });
  return addresses;
}

std::vector<IpAddress> read_own_addresses(const JsonObject& node, std::initializer_list<const char*> keys) {
  std::vector<IpAddress> addresses;
  for (const char* key : keys) {
    const std::string text = node.text(key);
    const auto address = IpAddress::parse(text);
    if (address) {
      addresses.push_back(*address);
    } else if (!text.empty()) {
      node.add_error(std::string(key) + " is not an address: " + shown(text));
    }
  }
  return addresses;
}

std::vector<Prefix> read_node_prefixes(const JsonObject& node) {
  std::vector<Prefix> prefixes;
  const auto add = [&](const json& value, const std::string& path) {
    if (const auto prefix = read_cidr(value, path, node.error())) {
      prefixes.push_back(*prefix);
    }
  };
  for (const char* key : {"IPv4AllocCIDR", "IPv6AllocCIDR"}) {
    if (const json* value = node.get(key)) {
      add(*value, key);
    }
  }
  for (const char* key : {"IPv4SecondaryAllocCIDRs", "IPv6SecondaryAllocCIDRs"}) {
    node.each(key, [&](const json& value, const std::string& path) {
      if (!value.is_null()) {
        add(value, path);
      }
    });
  }
  return prefixes;
}

}  // namespace

bool EtcdValueContext::owns(std::uint32_t identity) const {
  const unsigned shift = max_connected_clusters > 255 ? 15 : 16;
  return (identity > 0 && identity < identity::kFirstAllocated) || (identity >> shift) == id.value();
}

Result<ClusterConfigValue> decode_cluster_config(unsigned max_connected_clusters, std::string_view value) {
  ValueError error;
  const auto parsed = parse_json_object(value, error);
  if (!parsed) {
    return reject(error);
  }
  const JsonObject config(&*parsed, "", error);
  const JsonObject capabilities = config.object("capabilities");
  ClusterConfigValue result;
  const auto id = config.number("id", UINT32_MAX);
  result.synced_canaries = capabilities.flag("syncedCanaries");
  result.cached = capabilities.flag("cached");
  result.service_exports = capabilities.optional_flag("serviceExportsEnabled");
  const auto peer_max = capabilities.number("maxConnectedClusters", UINT32_MAX);
  const std::string mode = capabilities.text("endpointSlicesExportMode");
  if (!error.empty()) {
    return reject(error);
  }
  if (id == 0 || id > max_connected_clusters) {
    return Error{
        "the cluster's id is " + std::to_string(id) + ", which is not in 1.." + std::to_string(max_connected_clusters),
        {},
        "give the cluster a free id in that range (Cilium's cluster.id)"};
  }
  if (max_connected_clusters == kWide && peer_max != kWide) {
    return Error{"the cluster's maxConnectedClusters is " + std::to_string(peer_max) + ", this gateway's is " +
                     std::to_string(kWide) + ": identities would be attributed to the wrong cluster",
                 {},
                 "set the same clustermesh.maxConnectedClusters in all clusters"};
  }
  if (mode == "services-and-endpointslices") {
    result.slices = ClusterConfigValue::Slices::kBesideServices;
  } else if (mode == "endpointslices-only") {
    result.slices = ClusterConfigValue::Slices::kOnly;
  } else if (!mode.empty()) {
    return Error{"endpointSlicesExportMode " + shown(mode) + " is not known",
                 {},
                 "use a mode that this gateway supports, or upgrade the gateway"};
  }
  result.id = ClusterId{static_cast<std::uint16_t>(id)};
  return result;
}

Result<NodeObject> decode_node(const EtcdValueContext& context, std::string_view suffix, std::string_view value) {
  ValueError error;
  const auto parsed = parse_json_object(value, error);
  if (!parsed) {
    return reject(error);
  }
  const JsonObject node(&*parsed, "", error);
  const std::string name = node.text("Name"), cluster = node.text("Cluster");
  const auto id = node.number("ClusterID", UINT32_MAX);
  if (error.empty() && (name != suffix || !is_subdomain(name))) {
    error = "Name " + shown(name) + " does not match the key";
  }
  if (error.empty() && cluster != context.cluster) {
    error = "Cluster " + shown(cluster) + " is not " + context.cluster;
  }
  if (error.empty() && id != context.id.value()) {
    error =
        "ClusterID " + std::to_string(id) + " does not match the cluster's id, " + std::to_string(context.id.value());
  }
  NodeObject result;
  const auto addresses = read_node_addresses(node);
  result.addresses = choose_addresses(addresses);
  for (const auto& [type, address] : addresses) {
    if (type == "CiliumInternalIP") {
      result.inner.push_back(address);
    }
  }
  result.health = read_own_addresses(node, {"IPv4HealthIP", "IPv6HealthIP"});
  result.ingress = read_own_addresses(node, {"IPv4IngressIP", "IPv6IngressIP"});
  result.pod_prefixes = read_node_prefixes(node);
  if (!error.empty()) {
    return reject(error);
  }
  return result;
}

namespace {

// The first tunnel that we know; VXLAN where the list is empty.
std::optional<EncapsulationKind> tunnel_of(const std::vector<std::string>& names) {
  if (names.empty()) {
    return EncapsulationKind::kVxlan;
  }
  for (const std::string& name : names) {
    if (const auto kind = encapsulation_named(name); kind && *kind != EncapsulationKind::kNone) {
      return kind;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<GatewayValue> decode_gateway(const EtcdValueContext& context, std::string_view suffix, std::string_view value) {
  ValueError error;
  const auto parsed = parse_json_object(value, error);
  if (!parsed) {
    return reject(error);
  }
  const JsonObject gateway(&*parsed, "", error);
  GatewayValue result;
  result.name = gateway.text("name");
  result.zone = gateway.text("zone");
  const std::string cluster = gateway.text("cluster");
  const auto port = gateway.number("port", 65535);
  result.encapsulations = gateway.text_list("encapsulations");
  for (const std::string& text : gateway.text_list("underlay")) {
    const auto address = IpAddress::parse(text);
    if (!address || address->is_unspecified() || address->is_multicast()) {
      gateway.add_error("underlay " + shown(text) + " is not an address");
    } else {
      result.underlay.push_back(*address);
    }
  }
  if (error.empty() && (result.name != suffix || !is_label(result.name))) {
    error = "name " + shown(result.name) + " does not match the key";
  }
  if (error.empty() && cluster != context.cluster) {
    error = "cluster " + shown(cluster) + " is not " + context.cluster;
  }
  if (error.empty() && result.underlay.empty()) {
    error = "underlay has no address";
  }
  const auto encapsulation = tunnel_of(result.encapsulations);
  if (error.empty() && !encapsulation) {
    error = "encapsulations contains none that is known here";
  }
  if (!error.empty()) {
    return reject(error);
  }
  result.encapsulation = *encapsulation;
  result.port = encapsulation_info(*encapsulation).default_port;
  if (port != 0) {
    result.port = L4Port{static_cast<std::uint16_t>(port)};
  }
  return result;
}

std::string encode_gateway(const std::string& cluster, const GatewayValue& gateway) {
  json underlay = json::array();
  for (const IpAddress& address : gateway.underlay) {
    underlay.push_back(address.to_string());
  }
  const json value = {{"cluster", cluster},
                      {"name", gateway.name},
                      {"underlay", underlay},
                      {"port", gateway.port.value()},
                      {"encapsulations", gateway.encapsulations},
                      {"zone", gateway.zone}};
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace isthmus
