// Decodes addresses and identities, which are most of the values of a hub.
#include <charconv>

#include "config/yaml/read.h"
#include "control/source/etcd/ip_scan.h"
#include "control/source/etcd/json_value.h"
#include "control/source/etcd/mask.h"
#include "control/source/etcd/values.h"

namespace isthmus {
namespace {

using nlohmann::json;

constexpr std::string_view kClusterLabel = "k8s:io.cilium.k8s.policy.cluster";

void read_named_ports(const JsonObject& value, AddressObject& address) {
  std::vector<ServicePort> ports;
  value.each("NamedPorts", [&](const json& element, const std::string& path) {
    const JsonObject entry(&element, path + ".", value.error());
    const std::string name = entry.text("Name"), protocol_text = entry.text("Protocol");
    const auto port = entry.number("Port", 65535);
    const auto protocol = protocol_of(protocol_text);
    if (protocol && is_supported(*protocol) && port != 0) {
      ports.push_back({name, *protocol, L4Port{static_cast<std::uint16_t>(port)}});
    }
  });
  address.named_ports = std::move(ports);
}

// Reads the fields with the JSON parser, for values that scan_ip_fields() does not support.
bool parse_address_fields(std::string_view value, IpFields& fields, AddressObject& address, ValueError& error) {
  const auto parsed = parse_json_object(value, error);
  if (!parsed) {
    return false;
  }
  const JsonObject object(&*parsed, "", error);
  fields.ip = object.text("IP");
  fields.mask = object.text("Mask");
  fields.host = object.text("HostIP");
  fields.identity = static_cast<std::uint32_t>(object.number("ID", UINT32_MAX));
  fields.ns = object.text("K8sNamespace");
  fields.pod = object.text("K8sPodName");
  static_cast<void>(object.number("Key", 255));  // validates its type only
  read_named_ports(object, address);
  return error.empty();
}

std::optional<Prefix> read_prefix_fields(const IpFields& fields, std::string_view suffix, ValueError& error) {
  const auto ip = IpAddress::parse(fields.ip);
  if (!ip) {
    error = "IP " + shown(fields.ip) + " is not an address";
    return std::nullopt;
  }
  std::string text = ip->to_string();
  auto length = static_cast<std::uint8_t>(ip->is_ipv4() ? 32 : 128);
  if (!fields.mask.empty()) {
    const auto mask = mask_length(fields.mask);
    if (!mask || mask->bytes != (ip->is_ipv4() ? 4 : 16)) {
      error = "Mask " + shown(fields.mask) + " is not a mask of the address's family";
      return std::nullopt;
    }
    length = mask->bits;
    text += "/" + std::to_string(length);
  }
  const Prefix prefix(*ip, length);
  if (text != suffix) {
    error = "the address is " + text + ", which does not match the key";
  } else if (prefix.address() != *ip) {
    error = "the address has bits set beyond the prefix length";
  }
  return error.empty() ? std::optional(prefix) : std::nullopt;
}

}  // namespace

Result<AddressObject> decode_address(const EtcdValueContext& context, std::string_view suffix, std::string_view value) {
  AddressObject address;
  ValueError error;
  IpFields fields;
  if (!scan_ip_fields(value, fields)) {
    fields = {};
    if (!parse_address_fields(value, fields, address, error)) {
      return reject(error);
    }
  }
  const auto prefix = read_prefix_fields(fields, suffix, error);
  if (!prefix) {
    return reject(error);
  }
  if (!context.owns(fields.identity)) {
    return reject("identity " + std::to_string(fields.identity) + " does not belong to this cluster, id " +
                  std::to_string(context.id.value()));
  }
  address.prefix = *prefix;
  // The cluster's own host identity is a remote node for us.
  address.identity = fields.identity == identity::kHost.value() ? identity::kRemoteNode : Identity{fields.identity};
  if (!fields.host.empty()) {
    address.node = IpAddress::parse(fields.host);
    if (!address.node) {
      return reject("HostIP " + shown(fields.host) + " is not an address");
    }
  }
  address.ns = std::move(fields.ns);
  address.pod = std::move(fields.pod);
  return address;
}

Result<IdentityObject> decode_identity(const EtcdValueContext& context, std::string_view suffix,
                                       std::string_view value) {
  std::uint32_t id = 0;
  const auto [end, error] = std::from_chars(suffix.data(), suffix.data() + suffix.size(), id);
  if (error != std::errc{} || end != suffix.data() + suffix.size() || std::to_string(id) != suffix) {
    return reject("the key is not an identity number");
  }
  if (id < identity::kFirstAllocated || !context.owns(id)) {
    return reject("identity " + std::to_string(id) + " does not belong to this cluster, id " +
                  std::to_string(context.id.value()));
  }
  if (!is_plain_text(value)) {
    return reject("the labels are not plain text");
  }
  IdentityObject object{Identity{id}, {}};
  while (!value.empty()) {
    const std::string_view label = value.substr(0, value.find(';'));
    value.remove_prefix(std::min(value.size(), label.size() + 1));
    if (label.empty()) {
      continue;
    }
    // The label source ends at the first ':' before the first '='; values may contain both characters.
    const std::size_t equals = label.find('=');
    std::string_view key = label.substr(0, equals);
    const std::size_t colon = key.find(':');
    std::string name;
    if (key.starts_with('$')) {
      name = "reserved:" + std::string(key.substr(1));
    } else if (colon == std::string_view::npos) {
      name = "unspec:" + std::string(key);
    } else {
      name = key;
    }
    object.labels[name] = equals == std::string_view::npos ? "" : std::string(label.substr(equals + 1));
  }
  const auto cluster = object.labels.find(std::string(kClusterLabel));
  if (cluster == object.labels.end() || cluster->second != context.cluster) {
    return reject("the label " + std::string(kClusterLabel) + " is " +
                  (cluster == object.labels.end() ? "missing" : shown(cluster->second)) + ", not " + context.cluster);
  }
  return object;
}

}  // namespace isthmus
