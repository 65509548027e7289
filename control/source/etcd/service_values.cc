// Decodes Services.
#include <algorithm>
#include <tuple>

#include "config/yaml/read.h"
#include "control/source/etcd/json_value.h"
#include "control/source/etcd/service_parts.h"
#include "control/source/etcd/values.h"

namespace isthmus {
namespace {

using nlohmann::json;

constexpr const char* kVipLabel = "isthmus.io/vip";

using Ports = std::vector<ServicePort>;

struct AddressPorts {
  IpAddress address;
  std::string text;
  Ports ports;  // sorted; supported protocols only
};

// A Service's frontends or backends, in JSON: address → port name → protocol and number.
std::vector<AddressPorts> read_addresses(const JsonObject& service, const char* key) {
  std::vector<AddressPorts> result;
  service.object(key).each_member([&](const std::string& text, const json& ports) {
    const auto address = IpAddress::parse(text);
    if (!address) {
      service.add_error(service.path(key) + ": " + shown(text) + " is not an address");
      return;
    }
    AddressPorts entry{*address, text, {}};
    const JsonObject map(&ports, service.path(key) + "." + text + ".", service.error());
    map.each_member([&](const std::string& name, const json& value) {
      const JsonObject port(&value, map.path(name.c_str()) + ".", service.error());
      const std::string protocol_text = port.text("Protocol");
      const auto number = port.number("Port", 65535);
      const auto protocol = protocol_of(protocol_text);
      if (protocol && is_supported(*protocol) && number != 0) {
        entry.ports.push_back({name, *protocol, L4Port{static_cast<std::uint16_t>(number)}});
      }
    });
    sort_ports(entry.ports);
    result.push_back(std::move(entry));
  });
  return result;
}

Ports union_of(const std::vector<AddressPorts>& addresses) {
  Ports all;
  for (const AddressPorts& entry : addresses) {
    all.insert(all.end(), entry.ports.begin(), entry.ports.end());
  }
  sort_ports(all);
  return all;
}

std::string zone_of(const JsonObject& zones, const std::string& address) {
  return zones.object(address.c_str()).text("zone");
}

std::vector<SliceObject> slices_of(const std::vector<AddressPorts>& backends, const JsonObject& zones) {
  std::vector<SliceObject> slices;
  std::map<std::vector<std::tuple<std::string, IpProtocol, std::uint16_t>>, SliceObject> by_ports;
  for (const AddressPorts& backend : backends) {
    std::vector<std::tuple<std::string, IpProtocol, std::uint16_t>> key;
    key.reserve(backend.ports.size());
    for (const ServicePort& port : backend.ports) {
      key.emplace_back(port.name, port.protocol, port.port.value());
    }
    SliceObject& slice = by_ports[key];
    slice.ports = backend.ports;
    slice.endpoints.push_back({{backend.address}, true, true, false, {}, zone_of(zones, backend.text)});
  }
  for (auto& [key, slice] : by_ports) {
    slices.push_back(std::move(slice));
  }
  return slices;
}

// Label values cannot contain ':' or ',', so the list is written as "192.0.2.1_fd00--1".
void read_vips(const std::map<std::string, std::string>& labels, ServiceValue& service) {
  const auto label = labels.find(kVipLabel);
  if (label == labels.end()) {
    return;
  }
  std::string_view rest = label->second;
  while (!rest.empty()) {
    std::string text(rest.substr(0, rest.find('_')));
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
    if (text.empty()) {
      continue;
    }
    if (text.find('.') == std::string::npos) {
      std::replace(text.begin(), text.end(), '-', ':');
    }
    const auto vip = IpAddress::parse(text);
    if (vip && !vip->is_unspecified() && !vip->is_multicast()) {
      service.object.claimed_vips.push_back(*vip);
    } else {
      service.unreadable_vips.push_back(text);
    }
  }
}

}  // namespace

void sort_ports(std::vector<ServicePort>& ports) {
  const auto order = [](const ServicePort& a, const ServicePort& b) {
    return std::make_tuple(std::string_view(a.name), a.protocol, a.port) <
           std::make_tuple(std::string_view(b.name), b.protocol, b.port);
  };
  std::sort(ports.begin(), ports.end(), order);
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
}

std::string check_service_key(const EtcdValueContext& context, std::string_view suffix, const std::string& cluster,
                              const std::string& ns, const std::string& name) {
  if (ns + "/" + name != suffix || !is_subdomain(ns) || !is_subdomain(name)) {
    return "namespace and name " + shown(ns + "/" + name) + " do not match the key";
  }
  return cluster == context.cluster ? "" : "cluster " + shown(cluster) + " is not " + context.cluster;
}

Result<ServiceValue> decode_service(const EtcdValueContext& context, std::string_view suffix, std::string_view value) {
  ValueError error;
  const auto parsed = parse_json_object(value, error);
  if (!parsed) {
    return reject(error);
  }
  const JsonObject service(&*parsed, "", error);
  ServiceValue result;
  result.ns = service.text("namespace");
  result.name = service.text("name");
  const std::string cluster = service.text("cluster");
  const auto id = service.number("clusterID", UINT32_MAX);
  result.shared = service.flag("shared");
  if (error.empty()) {
    error = check_service_key(context, suffix, cluster, result.ns, result.name);
  }
  if (error.empty() && id != context.id.value()) {
    error =
        "clusterID " + std::to_string(id) + " does not match the cluster's id, " + std::to_string(context.id.value());
  }
  const std::vector<AddressPorts> frontends = read_addresses(service, "frontends"),
                                  backends = read_addresses(service, "backends");
  const auto hostnames = service.texts("hostnames");
  result.object.global = true;
  result.object.ports = union_of(frontends.empty() ? backends : frontends);
  result.object.labels = service.texts("labels");
  result.object.selector = service.texts("selector");
  result.slices = slices_of(backends, service.object("zones"));
  for (const AddressPorts& backend : backends) {
    const auto hostname = hostnames.find(backend.text);
    result.backends.push_back({backend.address, hostname == hostnames.end() ? "" : hostname->second, backend.ports});
  }
  if (!error.empty()) {
    return reject(error);
  }
  const auto& labels = *result.object.labels;
  if (const auto from = labels.find(kDerivedLabel); from != labels.end() && is_subdomain(from->second)) {
    result.derived_from = from->second;
  }
  read_vips(labels, result);
  return result;
}

}  // namespace isthmus
