// Policy peers that are not selected by labels: CIDRs, entities, services.
#include <algorithm>
#include <array>
#include <utility>

#include "control/source/manifest/object_reader.h"
#include "control/source/manifest/policy_reader.h"

namespace isthmus {
namespace {

constexpr std::array<std::pair<std::string_view, PolicyEntity>, 13> kEntities{{
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
}};

PolicyCidr read_cidr_set(const YamlMap& item) {
  PolicyCidr out;
  item.reject_others({"cidr", "except", "cidrGroupRef", "cidrGroupSelector"});
  const YamlNode* cidr = item.get("cidr");
  const YamlMap groups = item.map("cidrGroupSelector");
  out.group = item.text("cidrGroupRef");
  if ((cidr != nullptr ? 1 : 0) + (out.group.empty() ? 0 : 1) + (groups.present() ? 1 : 0) != 1) {
    item.error(item.line(), item.path() + " must have exactly one of cidr, cidrGroupRef and cidrGroupSelector",
               "keep one of them");
    return out;
  }
  if (cidr != nullptr) {
    out.prefix = read_cidr(*cidr, item.path("cidr"), item.errors(), CidrForm::kPrefix);
  } else if (groups.present()) {
    out.groups = read_label_selector(groups, "any");
  } else if (!is_subdomain(out.group)) {
    item.error(item.line(), item.path("cidrGroupRef") + " is " + shown(out.group) + ", not a valid object name",
               "write the metadata.name of a CiliumCIDRGroup");
  }
  out.except = read_except(item, out.prefix);
  return out;
}

std::optional<PolicyService> read_service_selector(const YamlMap& item) {
  PolicyService out;
  item.reject_others({"k8sService", "k8sServiceSelector"});
  const YamlMap by_name = item.map("k8sService"), by_labels = item.map("k8sServiceSelector");
  if (by_name.present() == by_labels.present()) {
    item.error(item.line(), item.path() + " must have exactly one of k8sService and k8sServiceSelector",
               "keep one of them");
    return std::nullopt;
  }
  if (by_name.present()) {
    by_name.reject_others({"serviceName", "namespace"});
    const YamlNode* name = by_name.require("serviceName", "write the metadata.name of a Service");
    out.name = name == nullptr ? std::string() : name->text;
    out.ns = by_name.text("namespace");
    if (name != nullptr && !is_label(out.name)) {
      by_name.error(name->line, by_name.path("serviceName") + " is " + shown(out.name) + ", not a valid Service name",
                    "write the metadata.name of a Service");
    }
    return out;
  }
  by_labels.reject_others({"selector", "namespace"});
  (void)by_labels.require("selector", "write the labels of the Services: matchLabels, matchExpressions");
  out.labels = read_label_selector(by_labels.map("selector"), "any");
  out.ns = by_labels.text("namespace");
  return out;
}

}  // namespace

std::optional<Prefix> read_cidr(const YamlNode& node, const std::string& path, YamlErrors& errors, CidrForm form) {
  const auto text = read_text(node, path, errors);
  if (!text) {
    return std::nullopt;
  }
  const auto prefix = Prefix::parse(*text);
  if (!prefix) {
    errors.push_back({node.line, path + " is " + shown(*text) + ", not a CIDR",
                      "write an address and prefix length, such as 10.1.0.0/16 or fd00:1::/48"});
  } else if (form == CidrForm::kPrefix && text->find('/') == std::string::npos) {
    errors.push_back({node.line, path + " is " + shown(*text) + ", without a prefix length",
                      "write " + prefix->to_string() + " for this one address"});
  }
  return prefix;
}

std::vector<PolicyCidr> read_cidr_list(const std::vector<YamlNode>& list, const std::string& path, YamlErrors& errors) {
  std::vector<PolicyCidr> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (const auto prefix = read_cidr(list[i], item_path(path, i), errors)) {
      out.push_back({prefix, {}, {}, {}});
    }
  }
  return out;
}

std::vector<PolicyCidr> read_cidr_sets(const std::vector<YamlNode>& list, const std::string& path, YamlErrors& errors) {
  std::vector<PolicyCidr> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    out.push_back(read_cidr_set(YamlMap(&list[i], item_path(path, i), list[i].line, errors)));
  }
  return out;
}

std::vector<Prefix> read_except(const YamlMap& map, const std::optional<Prefix>& whole) {
  std::vector<Prefix> out;
  const auto& list = map.list("except");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = item_path(map.path("except"), i);
    const auto prefix = read_cidr(list[i], path, map.errors(), CidrForm::kPrefix);
    if (!prefix) {
      continue;
    }
    if (whole && !whole->contains(*prefix)) {
      map.error(list[i].line, path + " is " + prefix->to_string() + ", which is not within " + whole->to_string(),
                "list only prefixes that the block contains");
    }
    append_once(out, *prefix);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<PolicyEntity> read_entities(const std::vector<YamlNode>& list, const std::string& path,
                                        YamlErrors& errors) {
  std::vector<PolicyEntity> out;
  std::vector<std::string_view> names;
  for (const auto& [name, entity] : kEntities) {
    names.push_back(name);
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto text = read_text(list[i], item_path(path, i), errors);
    const auto found = std::find(names.begin(), names.end(), text.value_or(""));
    if (text && *text == "cluster-mesh") {
      errors.push_back({list[i].line, item_path(path, i) + " is \"cluster-mesh\", not an entity of Cilium's policies",
                        "write fromEndpoints or toEndpoints with matchExpressions: [{key: "
                        "io.cilium.k8s.policy.cluster, operator: Exists}]"});
    } else if (text && found == names.end()) {
      const std::string_view near = nearest(*text, names);
      errors.push_back({list[i].line, item_path(path, i) + " is " + shown(*text) + ", not an entity",
                        near.empty() ? "write " + alternatives(names) : "did you mean " + std::string(near) + "?"});
    } else if (text) {
      append_once(out, kEntities[static_cast<std::size_t>(found - names.begin())].second);
    }
  }
  return out;
}

std::vector<PolicyService> read_services(const std::vector<YamlNode>& list, const std::string& path,
                                         YamlErrors& errors) {
  std::vector<PolicyService> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (auto service = read_service_selector(YamlMap(&list[i], item_path(path, i), list[i].line, errors))) {
      out.push_back(*std::move(service));
    }
  }
  return out;
}

}  // namespace isthmus
