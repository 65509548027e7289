// Namespace, Service, EndpointSlice and ServiceImport, with Kubernetes' defaults. Fields we do not read are not
// checked: the API server validates them.
#include <absl/strings/ascii.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "config/model/defaults.h"
#include "config/model/outlier_ejection.h"
#include "config/yaml/duration.h"
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

// "Local" or "Cluster", the default.
bool is_local(const YamlMap& spec, std::string_view key) {
  const std::string text = spec.text(key);
  if (!text.empty() && text != "Local" && text != "Cluster") {
    spec.error(spec.get(key)->line, spec.path(key) + " is " + shown(text), "write Cluster or Local");
  }
  return text == "Local";
}

TrafficDistribution read_distribution(const ObjectText& in, const YamlMap& spec) {
  const std::string text = spec.text("trafficDistribution");
  if (text == "PreferClose" || text == "PreferSameZone") {
    return TrafficDistribution::kZone;
  }
  if (text == "PreferSameNode") {
    return TrafficDistribution::kNode;
  }
  if (!text.empty()) {
    const YamlNode* node = spec.get("trafficDistribution");
    spec.warn(node->line, spec.path("trafficDistribution") + " is " + shown(text) + "; it is ignored",
              "write PreferSameZone, PreferSameNode or PreferClose");
  }
  const auto mode =
      find_annotation(in, "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints");
  const std::string word = mode ? absl::AsciiStrToLower(mode->text) : std::string();
  const bool hints = word == "auto";
  if (mode && !hints && word != "disabled") {
    in.root.warn(mode->line, "annotation " + mode->key + " is " + shown(mode->text) + "; it is ignored",
                 "write Auto or Disabled");
  }
  return hints ? TrafficDistribution::kHints : TrafficDistribution::kAny;
}

// "30s"; what is no duration leaves it to the gateway's configuration.
std::uint32_t read_slow_start(const ObjectText& in) {
  const auto annotation = find_annotation(in, "isthmus.io/slow-start");
  if (!annotation) {
    return ServiceRules::kAsConfigured;
  }
  const auto milliseconds = parse_duration(annotation->text);
  if (!milliseconds || *milliseconds > kMaxSlowStartMs) {
    in.root.warn(annotation->line,
                 "annotation " + annotation->key + " is " + shown(annotation->text) + "; it is ignored",
                 "write a duration such as 30s, 0s to " + show_duration(kMaxSlowStartMs));
    return ServiceRules::kAsConfigured;
  }
  return static_cast<std::uint32_t>((*milliseconds + 999) / 1000);
}

// "failures=5", "time=1m", "max_percent=30". False: it is none of them.
bool read_outlier_word(std::string_view word, ServiceRules& rules) {
  const std::size_t at = word.find('=');
  if (at == std::string_view::npos) {
    return false;
  }
  const std::string_view key = word.substr(0, at), text = word.substr(at + 1);
  if (key == "time") {
    const auto milliseconds = parse_duration(text);
    if (!milliseconds || *milliseconds < 1000 || *milliseconds > kMaxOutlierSeconds * std::uint64_t{1000}) {
      return false;
    }
    rules.outlier_seconds = static_cast<std::uint32_t>((*milliseconds + 999) / 1000);
    return true;
  }
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool failures = key == "failures";
  if ((!failures && key != "max_percent") || error != std::errc{} || end != text.data() + text.size() || number == 0 ||
      number > (failures ? kMaxOutlierFailures : 100)) {
    return false;
  }
  (failures ? rules.outlier_failures : rules.outlier_percent) = number;
  return true;
}

// "off", or "failures=5, time=30s, max_percent=50"; what is neither leaves it to the gateway's configuration.
void read_outlier_ejection(const ObjectText& in, ServiceRules& rules) {
  const auto annotation = find_annotation(in, "isthmus.io/outlier-ejection");
  if (!annotation) {
    return;
  }
  ServiceRules said;
  bool good = true;
  const auto words = claim_words(annotation->text);
  if (words.size() == 1 && words.front() == "off") {
    said.outlier_failures = 0;
  } else {
    good = std::all_of(words.begin(), words.end(),
                       [&](const std::string_view word) { return read_outlier_word(word, said); }) &&
           said.outlier_failures != ServiceRules::kAsConfigured;
  }
  if (!good) {
    in.root.warn(annotation->line,
                 "annotation " + annotation->key + " is " + shown(annotation->text) + "; it is ignored",
                 "write off, or failures=1 to " + std::to_string(kMaxOutlierFailures) +
                     " and, if need be, time=1s to 1h and max_percent=1 to 100: failures=5, time=30s, max_percent=50");
    return;
  }
  rules.outlier_failures = said.outlier_failures;
  rules.outlier_seconds = said.outlier_seconds;
  rules.outlier_percent = said.outlier_percent;
}

ServiceRules read_rules(const ObjectText& in, const YamlMap& spec) {
  ServiceRules rules;
  rules.source_ranges =
      read_prefixes(spec.list("loadBalancerSourceRanges"), spec.path("loadBalancerSourceRanges"), in.root.errors());
  const auto annotation = find_annotation(in, "service.cilium.io/src-ranges-policy");
  const std::string word = annotation ? absl::AsciiStrToLower(annotation->text) : std::string();  // as Cilium does
  rules.ranges_denied = word == "deny" && !rules.source_ranges.empty();
  if (!word.empty() && word != "allow" && word != "deny") {
    in.root.warn(annotation->line,
                 "annotation " + annotation->key + " is " + shown(annotation->text) + "; it is read as allow",
                 "write allow or deny");
  }
  rules.internal_local = is_local(spec, "internalTrafficPolicy");
  rules.external_local = is_local(spec, "externalTrafficPolicy");
  rules.distribution = read_distribution(in, spec);
  rules.slow_start = read_slow_start(in);
  read_outlier_ejection(in, rules);
  return rules;
}

// What a Service asks for that would change where its packets go, and that global services do not do. How others reach
// it by its ports on nodes (allocateLoadBalancerNodePorts) is not among it.
std::vector<std::string> find_ignored(const ObjectText& in, const YamlMap& spec) {
  std::vector<std::string> ignored;
  if (spec.text("type") == "ExternalName") {
    ignored.emplace_back("spec.type: ExternalName");
  }
  constexpr std::array<std::string_view, 5> kRead{"global", "shared", "affinity", "weight", "src-ranges-policy"};
  constexpr std::string_view kOurs = "service.cilium.io/";
  for (const auto& [key, value] : string_map(in.annotations)) {
    const std::string_view name = key;
    if (name.starts_with(kOurs) && std::find(kRead.begin(), kRead.end(), name.substr(kOurs.size())) == kRead.end()) {
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
  const std::string affinity = spec.text("sessionAffinity");
  service.client_ip_affinity = affinity == "ClientIP";
  if (!affinity.empty() && affinity != "ClientIP" && affinity != "None") {
    spec.warn(spec.get("sessionAffinity")->line,
              spec.path("sessionAffinity") + " is " + shown(affinity) + "; it is read as None",
              "write ClientIP or None");
  }
  const YamlMap client_ip = spec.map("sessionAffinityConfig").map("clientIP");
  if (const YamlNode* seconds = client_ip.get("timeoutSeconds"); seconds != nullptr) {
    constexpr std::uint64_t kDay = 86400;
    const auto read = read_number(*seconds, client_ip.path("timeoutSeconds"), 1, kDay, in.root.errors());
    service.affinity_seconds = static_cast<std::uint32_t>(read.value_or(service.affinity_seconds));
  }
  service.ports = read_ports(spec.list("ports"), "spec.ports", PortRule::kRequired, in.root.errors());
  service.claimed_vips = read_claim(in);
  service.selector = string_map(spec.map("selector"));
  service.labels = string_map(in.labels);
  service.created = read_created(in);
  service.ignored = find_ignored(in, spec);
  service.rules = read_rules(in, spec);
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

// [{name: zone-1}]
std::vector<std::string> read_names(const YamlMap& map, std::string_view key) {
  std::vector<std::string> names;
  const auto& list = map.list(key);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path(map.path(key), i), list[i].line, map.errors());
    if (std::string name = item.text("name"); !name.empty()) {
      names.push_back(std::move(name));
    }
  }
  return names;
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
  const YamlMap hints = item.map("hints");
  endpoint.for_zones = read_names(hints, "forZones");
  endpoint.for_nodes = read_names(hints, "forNodes");
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
