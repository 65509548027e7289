// Namespace, Service, EndpointSlice and ServiceImport, with Kubernetes' defaults. Fields we do not read are not
// checked: the API server validates them.
#include <absl/strings/ascii.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "control/source/manifest/manifest.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

// Cilium's booleans: "true" in any case is true; everything else is false, with a warning unless it is "false".
bool read_flag(const ObjectText& in, std::string_view key, std::string_view older_key, bool default_value) {
  const auto annotation = find_annotation(in, key, older_key);
  if (!annotation) {
    return default_value;
  }
  const std::string text = absl::AsciiStrToLower(annotation->text);
  if (text != "true" && text != "false") {
    in.root.warn(annotation->line,
                 "annotation " + annotation->key + " is " + shown(annotation->text) + "; it is read as false",
                 "write \"true\" or \"false\"");
  }
  return text == "true";
}

ServiceAffinity read_affinity(const ObjectText& in) {
  const auto annotation = find_annotation(in, "service.cilium.io/affinity", "io.cilium/service-affinity");
  const std::string word = annotation ? absl::AsciiStrToLower(annotation->text) : std::string();  // as Cilium does
  if (word.empty() || word == "none") {
    return ServiceAffinity::kNone;
  }
  if (word == "local") {
    return ServiceAffinity::kLocal;
  }
  if (word == "remote") {
    return ServiceAffinity::kRemote;
  }
  in.root.warn(annotation->line,
               "annotation " + annotation->key + " is " + shown(annotation->text) + "; it is read as none",
               "write local, remote or none");
  return ServiceAffinity::kNone;
}

// "10.200.0.10,fd00:ff::a"
std::vector<IpAddress> read_claim(const ObjectText& in) {
  std::vector<IpAddress> vips;
  const auto annotation = find_annotation(in, "isthmus.io/vip");
  if (!annotation) {
    return vips;
  }
  for (const std::string_view word : claim_words(annotation->text)) {
    if (const auto vip = read_address(word, annotation->line, "annotation isthmus.io/vip", in.root.errors())) {
      append_once(vips, *vip);
    }
  }
  return vips;
}

}  // namespace

std::optional<ObjectValue> read_namespace(const ObjectText& in) {
  return NamespaceObject{string_map(in.labels), string_map(in.annotations)};
}

namespace {

// What a Service asks for that would change where its packets go, and that global services do not do. How others reach
// it by its ports on nodes and load balancers (externalTrafficPolicy, allocateLoadBalancerNodePorts) is not among it.
std::vector<std::string> find_ignored(const ObjectText& in, const YamlMap& spec) {
  std::vector<std::string> ignored;
  const auto unless = [&](const YamlMap& map, std::string_view key, std::string_view usual) {
    if (const YamlNode* node = map.get(key); node != nullptr && !node->text.empty() && node->text != usual) {
      ignored.push_back(map.path(key) + ": " + shown(node->text));
    }
  };
  if (spec.text("type") == "ExternalName") {
    ignored.emplace_back("spec.type: ExternalName");
  }
  unless(spec, "internalTrafficPolicy", "Cluster");
  unless(spec, "trafficDistribution", "");
  unless(spec.map("sessionAffinityConfig").map("clientIP"), "timeoutSeconds", "10800");
  if (!spec.list("loadBalancerSourceRanges").empty()) {
    ignored.emplace_back("spec.loadBalancerSourceRanges");
  }
  constexpr std::array<std::string_view, 4> kRead{"global", "shared", "affinity", "weight"};
  constexpr std::string_view kOurs = "service.cilium.io/";
  for (const auto& [key, value] : string_map(in.annotations)) {
    const std::string_view name = key;
    const bool topology = name == "service.kubernetes.io/topology-mode";
    if (topology ||
        (name.starts_with(kOurs) && std::find(kRead.begin(), kRead.end(), name.substr(kOurs.size())) == kRead.end())) {
      ignored.push_back("annotation " + shown(name));
    }
  }
  return ignored;
}

}  // namespace

std::optional<ObjectValue> read_service(const ObjectText& in) {
  ServiceObject service;
  const YamlMap spec = in.root.map("spec");
  service.global = read_flag(in, "service.cilium.io/global", "io.cilium/global-service", false);
  service.shared = read_flag(in, "service.cilium.io/shared", "io.cilium/shared-service", true);
  service.affinity = read_affinity(in);
  service.client_ip_affinity = spec.text("sessionAffinity") == "ClientIP";
  service.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kRequired, in.root.errors());
  service.claimed_vips = read_claim(in);
  service.selector = string_map(spec.map("selector"));
  service.labels = string_map(in.labels);
  service.created = read_created(in);
  service.ignored = find_ignored(in, spec);
  return service;
}

namespace {

// Defaults of the conditions: ready is true, serving is the same as ready, terminating is false.
void read_conditions(const YamlMap& endpoint, SliceEndpoint& out) {
  const YamlMap conditions = endpoint.map("conditions");
  const auto flag = [&](std::string_view key, bool default_value) {
    const YamlNode* node = conditions.get(key);
    return node == nullptr ? default_value
                           : read_boolean(*node, conditions.path(key), conditions.errors()).value_or(default_value);
  };
  out.ready = flag("ready", true);
  out.serving = flag("serving", out.ready);
  out.terminating = flag("terminating", false);
}

SliceEndpoint read_slice_endpoint(const YamlMap& item, Family family) {
  SliceEndpoint endpoint;
  const YamlNode* list = item.require("addresses", "write the endpoint's addresses as a list");
  const auto& addresses = read_list(list, item.path("addresses"), item.errors());
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::string path = item_path(item.path("addresses"), i);
    const auto address = read_address(addresses[i], path, item.errors());
    if (!address) {
      continue;
    }
    if (address->family() != family) {
      item.error(addresses[i].line, path + " is " + address->to_string() + ", not of the slice's addressType",
                 "write a slice for each family");
      continue;
    }
    append_once(endpoint.addresses, *address);
  }
  read_conditions(item, endpoint);
  endpoint.node = item.text("nodeName");
  endpoint.zone = item.text("zone");
  return endpoint;
}

std::uint16_t read_weight(const ObjectText& in) {
  constexpr std::uint16_t kDefault = 100;
  const auto annotation = find_annotation(in, "service.cilium.io/weight");
  if (!annotation) {
    return kDefault;
  }
  std::uint16_t weight = 0;
  const char* last = annotation->text.data() + annotation->text.size();
  const auto [end, error] = std::from_chars(annotation->text.data(), last, weight);
  if (error != std::errc{} || end != last) {
    in.root.warn(annotation->line,
                 "annotation " + annotation->key + " is " + shown(annotation->text) + "; it is ignored",
                 "write a number, 0 to 65535; 0 drains the slice's backends");
    return kDefault;
  }
  return weight;
}

}  // namespace

std::optional<ObjectValue> read_slice(const ObjectText& in) {
  SliceObject slice;
  const bool imported = !in.labels.text(kSourceClusterLabel).empty();
  const std::string_view service_label = imported ? kImportedServiceLabel : "kubernetes.io/service-name";
  slice.service = in.labels.text(service_label);
  const YamlNode* type = in.root.require("addressType", "write IPv4 or IPv6");
  const std::string family = type == nullptr ? "" : type->text;
  if (slice.service.empty() || family == "FQDN") {
    return std::nullopt;
  }
  if (!is_label(slice.service)) {
    in.root.error(in.labels.line(),
                  "label " + std::string(service_label) + " is " + shown(slice.service) + ", not a valid Service name",
                  "write the metadata.name of its Service");
  }
  if (type != nullptr && family != "IPv4" && family != "IPv6") {
    in.root.error(type->line, "addressType is " + shown(family), "write IPv4 or IPv6");
    return std::nullopt;
  }
  YamlErrors& errors = in.root.errors();
  slice.ports = read_ports(in.root.list("ports"), "ports", PortRule::kMayBeAbsent, errors);
  const auto& endpoints = in.root.list("endpoints");
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const YamlMap item(&endpoints[i], item_path("endpoints", i), endpoints[i].line, errors);
    slice.endpoints.push_back(read_slice_endpoint(item, family == "IPv4" ? Family::kIpv4 : Family::kIpv6));
  }
  slice.weight = read_weight(in);
  return slice;
}

std::optional<ObjectValue> read_service_import(const ObjectText& in) {
  ServiceImportObject import;
  const YamlMap spec = in.root.map("spec");
  const auto& ips = spec.list("ips");
  for (std::size_t i = 0; i < ips.size(); ++i) {
    if (const auto ip = read_address(ips[i], item_path("spec.ips", i), in.root.errors())) {
      append_once(import.ips, *ip);
    }
  }
  import.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kRequired, in.root.errors());
  import.created = read_created(in);
  return import;
}

}  // namespace isthmus
