// Decodes exports of Services (the multi-cluster services API).
#include <algorithm>

#include "config/yaml/read.h"
#include "config/yaml/rfc3339.h"
#include "control/source/etcd/json_value.h"
#include "control/source/etcd/service_parts.h"
#include "control/source/etcd/values.h"

namespace isthmus {
namespace {

using nlohmann::json;

// A text that must be one of `known`, or empty if absent.
std::string choice(const JsonObject& object, const char* key, const std::vector<std::string_view>& known) {
  std::string text = object.text(key);
  if (!text.empty() && std::find(known.begin(), known.end(), text) == known.end()) {
    object.add_error(object.path(key) + " " + shown(text) + " is not known");
  }
  return text;
}

// Older Cilium writes the map under a capitalised key; the lower-case key takes precedence.
std::map<std::string, std::string> either(const JsonObject& object, const char* key, const char* legacy) {
  return object.get(key) != nullptr ? object.texts(key) : object.texts(legacy);
}

void read_ports(const JsonObject& from, ServiceExportValue& to) {
  from.each("ports", [&](const json& value, const std::string& path) {
    const JsonObject port(&value, path + ".", from.error());
    const std::string name = port.text("name"), protocol_text = port.text("protocol"),
                      application = port.text("appProtocol");
    const auto number = port.number("port", 65535);
    const auto protocol = protocol_text.empty() ? std::optional(IpProtocol::kTcp) : protocol_of(protocol_text);
    if (!protocol) {
      port.add_error(path + ".protocol " + shown(protocol_text) + " is not known");
    } else if (is_supported(*protocol) && number != 0) {
      to.object.ports.push_back({name, *protocol, L4Port{static_cast<std::uint16_t>(number)}});
      to.app_protocols.push_back(application);
    }
  });
}

}  // namespace

Result<ServiceExportValue> decode_service_export(const EtcdValueContext& context, std::string_view suffix,
                                                 std::string_view value) {
  ValueError error;
  const auto parsed = parse_json_object(value, error);
  if (!parsed) {
    return reject(error);
  }
  const JsonObject from(&*parsed, "", error);
  ServiceExportValue result;
  result.ns = from.text("namespace");
  result.name = from.text("name");
  const std::string cluster = from.text("cluster"), created = from.text("exportCreationTimestamp");
  result.headless = choice(from, "type", {"ClusterSetIP", "Headless"}) == "Headless";
  result.object.client_ip_affinity = choice(from, "sessionAffinity", {"None", "ClientIP"}) == "ClientIP";
  result.affinity_seconds = static_cast<std::int64_t>(
      from.object("sessionAffinityConfig").object("clientIP").number("timeoutSeconds", INT32_MAX));
  if (result.affinity_seconds != 0) {
    result.object.affinity_seconds = static_cast<std::uint32_t>(result.affinity_seconds);
  }
  result.internal_traffic_policy = choice(from, "internalTrafficPolicy", {"Cluster", "Local"});
  ServiceRules rules;
  rules.internal_local = result.internal_traffic_policy == "Local";
  result.object.rules = rules;
  result.traffic_distribution =
      choice(from, "trafficDistribution", {"PreferClose", "PreferSameZone", "PreferSameNode"});
  result.ip_families = from.text_list("ipFamilies");
  result.object.global = true;
  result.object.labels = either(from, "labels", "Labels");
  result.annotations = either(from, "annotations", "Annotations");
  read_ports(from, result);
  if (error.empty()) {
    error = check_service_key(context, suffix, cluster, result.ns, result.name);
  }
  if (error.empty()) {
    const auto when = parse_rfc3339(created);
    if (!when) {
      error = "exportCreationTimestamp " + shown(created) + " is not a time";
    }
    result.object.created = when.value_or(0);
  }
  for (const std::string& family : result.ip_families) {
    if (error.empty() && family != "IPv4" && family != "IPv6") {
      error = "ipFamilies: " + shown(family) + " is not known";
    }
  }
  if (!error.empty()) {
    return reject(error);
  }
  return result;
}

}  // namespace isthmus
