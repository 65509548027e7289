// Peers of a policy that are not chosen by their labels: CIDRs, entities, services.
#include <algorithm>
#include <array>
#include <utility>

#include "control/source/manifest/object_reader.h"
#include "control/source/manifest/policy_reader.h"

namespace isthmus {
namespace {

constexpr std::array<std::pair<std::string_view, PolicyEntity>, 14> kEntities{{
    {"all", PolicyEntity::kAll},
    {"world", PolicyEntity::kWorld},
    {"world-ipv4", PolicyEntity::kWorldIpv4},
    {"world-ipv6", PolicyEntity::kWorldIpv6},
    {"host", PolicyEntity::kHost},
    {"remote-node", PolicyEntity::kRemoteNode},
    {"kube-apiserver", PolicyEntity::kKubeApiserver},
    {"ingress", PolicyEntity::kIngress},
    {"health", PolicyEntity::kHealth},
    {"init", PolicyEntity::kInit},
    {"unmanaged", PolicyEntity::kUnmanaged},
    {"none", PolicyEntity::kNone},
    {"cluster", PolicyEntity::kCluster},
    {"cluster-mesh", PolicyEntity::kClusterMesh},
}};

PolicyCidr read_cidr_set(const YamlMap& item) {
  PolicyCidr out;
  item.refuse_others({"cidr", "except", "cidrGroupRef", "cidrGroupSelector"});
  const YamlNode* cidr = item.get("cidr");
  const YamlMap groups = item.map("cidrGroupSelector");
  out.group = item.text("cidrGroupRef");
  if ((cidr != nullptr ? 1 : 0) + (out.group.empty() ? 0 : 1) + (groups.present() ? 1 : 0) != 1) {
    item.fault(item.line(), item.path() + " must have one of cidr, cidrGroupRef and cidrGroupSelector", "keep one");
    return out;
  }
  if (cidr != nullptr) {
    out.prefix = read_cidr(*cidr, item.path("cidr"), item.faults());
  } else if (groups.present()) {
    out.groups = read_label_selector(groups, "any");
  } else if (!is_subdomain(out.group)) {
    item.fault(item.line(), item.path("cidrGroupRef") + " is " + shown(out.group) + ", not an object's name",
               "write the metadata.name of a CiliumCIDRGroup");
  }
  out.except = read_except(item, out.prefix);
  return out;
}

std::optional<PolicyService> read_service(const YamlMap& item) {
  PolicyService out;
  item.refuse_others({"k8sService", "k8sServiceSelector"});
  const YamlMap by_name = item.map("k8sService"), by_labels = item.map("k8sServiceSelector");
  if (by_name.present() == by_labels.present()) {
    item.fault(item.line(), item.path() + " must have one of k8sService and k8sServiceSelector", "keep one");
    return std::nullopt;
  }
  if (by_name.present()) {
    by_name.refuse_others({"serviceName", "namespace"});
    const YamlNode* name = by_name.require("serviceName", "write the metadata.name of a Service");
    out.name = name == nullptr ? std::string() : name->text;
    out.name_space = by_name.text("namespace");
    if (name != nullptr && !is_label(out.name)) {
      by_name.fault(name->line, by_name.path("serviceName") + " is " + shown(out.name) + ", not a Service's name",
                    "write the metadata.name of a Service");
    }
    return out;
  }
  by_labels.refuse_others({"selector", "namespace"});
  (void)by_labels.require("selector", "write the labels of the Services: matchLabels, matchExpressions");
  out.labels = read_label_selector(by_labels.map("selector"), "any");
  out.name_space = by_labels.text("namespace");
  return out;
}

}  // namespace

std::optional<Prefix> read_cidr(const YamlNode& node, const std::string& path, YamlFaults& faults) {
  const auto text = read_text(node, path, faults);
  if (!text) {
    return std::nullopt;
  }
  const auto prefix = Prefix::parse(*text);
  if (!prefix) {
    faults.push_back({node.line, path + " is " + shown(*text) + ", not a CIDR",
                      "write an address and its length, such as 10.1.0.0/16 or fd00:1::/48"});
  }
  return prefix;
}

std::vector<PolicyCidr> read_cidr_list(const std::vector<YamlNode>& list, const std::string& path, YamlFaults& faults) {
  std::vector<PolicyCidr> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (const auto prefix = read_cidr(list[i], item_path(path, i), faults)) {
      out.push_back({prefix, {}, {}, {}});
    }
  }
  return out;
}

std::vector<PolicyCidr> read_cidr_sets(const std::vector<YamlNode>& list, const std::string& path, YamlFaults& faults) {
  std::vector<PolicyCidr> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    out.push_back(read_cidr_set(YamlMap(&list[i], item_path(path, i), list[i].line, faults)));
  }
  return out;
}

std::vector<Prefix> read_except(const YamlMap& map, const std::optional<Prefix>& whole) {
  std::vector<Prefix> out;
  const auto& list = map.list("except");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = item_path(map.path("except"), i);
    const auto prefix = read_cidr(list[i], path, map.faults());
    if (!prefix) {
      continue;
    }
    if (whole && !whole->contains(*prefix)) {
      map.fault(list[i].line, path + " is " + prefix->to_string() + ", which does not lie in " + whole->to_string(),
                "except only what the block contains");
    }
    append_once(out, *prefix);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<PolicyEntity> read_entities(const std::vector<YamlNode>& list, const std::string& path,
                                        YamlFaults& faults) {
  std::vector<PolicyEntity> out;
  std::vector<std::string_view> names;
  for (const auto& [name, entity] : kEntities) {
    names.push_back(name);
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto text = read_text(list[i], item_path(path, i), faults);
    const auto found = std::find(names.begin(), names.end(), text.value_or(""));
    if (text && found == names.end()) {
      const std::string_view near = nearest(*text, names);
      faults.push_back({list[i].line, item_path(path, i) + " is " + shown(*text) + ", not an entity",
                        near.empty() ? "write " + alternatives(names) : "did you mean " + std::string(near) + "?"});
    } else if (text) {
      append_once(out, kEntities[static_cast<std::size_t>(found - names.begin())].second);
    }
  }
  return out;
}

std::vector<PolicyService> read_services(const std::vector<YamlNode>& list, const std::string& path,
                                         YamlFaults& faults) {
  std::vector<PolicyService> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (auto service = read_service(YamlMap(&list[i], item_path(path, i), list[i].line, faults))) {
      out.push_back(*std::move(service));
    }
  }
  return out;
}

}  // namespace isthmus
