// Cluster configurations, nodes and registered gateways.
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
std::optional<Prefix> read_cidr(const json& value, const std::string& path, ValueFault& fault) {
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    const auto prefix = text.find('/') == std::string::npos ? std::nullopt : Prefix::parse(text);
    if (!prefix && fault.empty()) {
      fault = path + " is not a prefix: " + shown(text);
    }
    return prefix;
  }
  const JsonObject object(&value, path + ".", fault);
  const std::string text = object.text("IP"), mask = object.text("Mask");
  const auto address = IpAddress::parse(text);
  const auto length = mask_length(mask);
  if (!address || !length || length->bytes != (address->is_ipv4() ? 4 : 16)) {
    object.complain(path + " is not a prefix: " + shown(text + " with the mask " + mask));
    return std::nullopt;
  }
  return Prefix(*address, length->bits);
}

bool is_name_type(const std::string& type) {
  return type == "Hostname" || type == "InternalDNS" || type == "ExternalDNS";
}

// The address that other clusters reach the node at, per family: internal, else external, else any but Cilium's own.
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
    const JsonObject entry(&value, path + ".", node.fault());
    const std::string type = entry.text("Type"), text = entry.text("IP");
    const auto address = IpAddress::parse(text);
    if (address) {
      addresses.emplace_back(type, *address);
    } else if (!is_name_type(type)) {
      entry.complain(path + ".IP is not an address: " + shown(text));
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
      node.complain(std::string(key) + " is not an address: " + shown(text));
    }
  }
  return addresses;
}

std::vector<Prefix> read_node_prefixes(const JsonObject& node) {
  std::vector<Prefix> prefixes;
  const auto add = [&](const json& value, const std::string& path) {
    if (const auto prefix = read_cidr(value, path, node.fault())) {
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
  ValueFault fault;
  const auto parsed = parse_json_object(value, fault);
  if (!parsed) {
    return refusal(fault);
  }
  const JsonObject config(&*parsed, "", fault);
  const JsonObject capabilities = config.object("capabilities");
  ClusterConfigValue result;
  const auto id = config.number("id", UINT32_MAX);
  result.synced_canaries = capabilities.flag("syncedCanaries");
  result.cached = capabilities.flag("cached");
  result.service_exports = capabilities.optional_flag("serviceExportsEnabled");
  const auto most = capabilities.number("maxConnectedClusters", UINT32_MAX);
  const std::string mode = capabilities.text("endpointSlicesExportMode");
  if (!fault.empty()) {
    return refusal(fault);
  }
  if (id == 0 || id > max_connected_clusters) {
    return Error{
        "the cluster's id is " + std::to_string(id) + ", which is not in 1.." + std::to_string(max_connected_clusters),
        {},
        "give the cluster a free id in that range (Cilium's cluster.id)"};
  }
  if (max_connected_clusters == kWide && most != kWide) {
    return Error{"the cluster counts up to " + std::to_string(most) + " clusters, this gateway up to " +
                     std::to_string(kWide) + ": identities would be read as another cluster's",
                 {},
                 "use one clustermesh.maxConnectedClusters in all clusters"};
  }
  if (mode == "services-and-endpointslices") {
    result.slices = ClusterConfigValue::Slices::kBesideServices;
  } else if (mode == "endpointslices-only") {
    result.slices = ClusterConfigValue::Slices::kOnly;
  } else if (!mode.empty()) {
    return Error{"endpointSlicesExportMode " + shown(mode) + " is not known",
                 {},
                 "use a mode that this gateway knows, or a gateway that knows the mode"};
  }
  result.id = ClusterId{static_cast<std::uint16_t>(id)};
  return result;
}

Result<NodeObject> decode_node(const EtcdValueContext& context, std::string_view tail, std::string_view value) {
  ValueFault fault;
  const auto parsed = parse_json_object(value, fault);
  if (!parsed) {
    return refusal(fault);
  }
  const JsonObject node(&*parsed, "", fault);
  const std::string name = node.text("Name"), cluster = node.text("Cluster");
  const auto id = node.number("ClusterID", UINT32_MAX);
  if (fault.empty() && (name != tail || !is_subdomain(name))) {
    fault = "Name " + shown(name) + " is not the key's";
  }
  if (fault.empty() && cluster != context.cluster) {
    fault = "Cluster " + shown(cluster) + " is not " + context.cluster;
  }
  if (fault.empty() && id != context.id.value()) {
    fault = "ClusterID " + std::to_string(id) + " is not the cluster's, which is " + std::to_string(context.id.value());
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
  if (!fault.empty()) {
    return refusal(fault);
  }
  return result;
}

Result<GatewayValue> decode_gateway(const EtcdValueContext& context, std::string_view tail, std::string_view value) {
  ValueFault fault;
  const auto parsed = parse_json_object(value, fault);
  if (!parsed) {
    return refusal(fault);
  }
  const JsonObject gateway(&*parsed, "", fault);
  GatewayValue result;
  result.name = gateway.text("name");
  result.zone = gateway.text("zone");
  const std::string cluster = gateway.text("cluster");
  const auto port = gateway.number("port", 65535);
  result.encapsulations = gateway.text_list("encapsulations");
  for (const std::string& text : gateway.text_list("underlay")) {
    const auto address = IpAddress::parse(text);
    if (!address || address->is_unspecified() || address->is_multicast()) {
      gateway.complain("underlay " + shown(text) + " is not an address");
    } else {
      result.underlay.push_back(*address);
    }
  }
  if (fault.empty() && (result.name != tail || !is_label(result.name))) {
    fault = "name " + shown(result.name) + " is not the key's";
  }
  if (fault.empty() && cluster != context.cluster) {
    fault = "cluster " + shown(cluster) + " is not " + context.cluster;
  }
  if (fault.empty() && result.underlay.empty()) {
    fault = "underlay names no address";
  }
  const auto& encapsulations = result.encapsulations;
  if (fault.empty() && !encapsulations.empty() &&
      std::find(encapsulations.begin(), encapsulations.end(), "vxlan") == encapsulations.end()) {
    fault = "encapsulations does not name vxlan";
  }
  if (!fault.empty()) {
    return refusal(fault);
  }
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
