// Exports of Services by the multi-cluster services API.
#include <algorithm>

#include "config/yaml/read.h"
#include "control/source/etcd/json_value.h"
#include "control/source/etcd/service_parts.h"
#include "control/source/etcd/values.h"

namespace isthmus {
namespace {

using nlohmann::json;

// Text that must be one of the known words; empty stands for absence.
std::string choice(const JsonObject& object, const char* key, const std::vector<std::string_view>& known) {
  std::string text = object.text(key);
  if (!text.empty() && std::find(known.begin(), known.end(), text) == known.end()) {
    object.complain(object.path(key) + " " + shown(text) + " is not known");
  }
  return text;
}

// Older Cilium writes the same under two spellings; the lower-case one counts.
std::map<std::string, std::string> either(const JsonObject& object, const char* key, const char* legacy) {
  return object.get(key) != nullptr ? object.texts(key) : object.texts(legacy);
}

void read_ports(const JsonObject& from, ServiceExportValue& to) {
  from.each("ports", [&](const json& value, const std::string& path) {
    const JsonObject port(&value, path + ".", from.fault());
    const std::string name = port.text("name"), protocol_text = port.text("protocol"),
                      application = port.text("appProtocol");
    const auto number = port.number("port", 65535);
    const auto protocol = protocol_text.empty() ? std::optional(IpProtocol::kTcp) : protocol_of(protocol_text);
    if (!protocol) {
      port.complain(path + ".protocol " + shown(protocol_text) + " is not known");
    } else if (is_balanced(*protocol) && number != 0) {
      to.object.ports.push_back({name, *protocol, L4Port{static_cast<std::uint16_t>(number)}});
      to.app_protocols.push_back(application);
    }
  });
}

}  // namespace

Result<ServiceExportValue> decode_service_export(const EtcdValueContext& context, std::string_view tail,
                                                 std::string_view value) {
  ValueFault fault;
  const auto parsed = parse_json_object(value, fault);
  if (!parsed) {
    return refusal(fault);
  }
  const JsonObject from(&*parsed, "", fault);
  ServiceExportValue result;
  result.name_space = from.text("namespace");
  result.name = from.text("name");
  const std::string cluster = from.text("cluster"), created = from.text("exportCreationTimestamp");
  result.headless = choice(from, "type", {"ClusterSetIP", "Headless"}) == "Headless";
  result.object.client_ip_affinity = choice(from, "sessionAffinity", {"None", "ClientIP"}) == "ClientIP";
  result.affinity_seconds = static_cast<std::int64_t>(
      from.object("sessionAffinityConfig").object("clientIP").number("timeoutSeconds", INT32_MAX));
  result.internal_traffic_policy = choice(from, "internalTrafficPolicy", {"Cluster", "Local"});
  result.traffic_distribution =
      choice(from, "trafficDistribution", {"PreferClose", "PreferSameZone", "PreferSameNode"});
  result.ip_families = from.text_list("ipFamilies");
  result.object.global = true;
  result.object.labels = either(from, "labels", "Labels");
  result.annotations = either(from, "annotations", "Annotations");
  read_ports(from, result);
  if (fault.empty()) {
    fault = check_service_key(context, tail, cluster, result.name_space, result.name);
  }
  if (fault.empty()) {
    const auto when = parse_rfc3339(created);
    if (!when) {
      fault = "exportCreationTimestamp " + shown(created) + " is not a time";
    }
    result.object.created = when.value_or(0);
  }
  for (const std::string& family : result.ip_families) {
    if (fault.empty() && family != "IPv4" && family != "IPv6") {
      fault = "ipFamilies: " + shown(family) + " is not known";
    }
  }
  if (!fault.empty()) {
    return refusal(fault);
  }
  return result;
}

}  // namespace isthmus
