#include "control/policy/rules.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <span>
#include <utility>

namespace isthmus {
namespace {

LabelSelector reserved(const char* name) { return {{{"reserved", name, LabelOperator::kExists, {}}}}; }

void add_entity(PolicyEntity entity, const std::string& cluster, PeerSelector& out) {
  const auto add = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      out.labels.push_back(reserved(name));
    }
  };
  switch (entity) {
    case PolicyEntity::kAll:
    case PolicyEntity::kNone:
      return;
    case PolicyEntity::kWorld:
      return add({"world", "world-ipv4", "world-ipv6"});
    case PolicyEntity::kWorldIpv4:
      return add({"world-ipv4"});
    case PolicyEntity::kWorldIpv6:
      return add({"world-ipv6"});
    case PolicyEntity::kHost:
      return add({"host"});
    case PolicyEntity::kRemoteNode:
      return add({"remote-node"});
    case PolicyEntity::kKubeApiserver:
      return add({"kube-apiserver"});
    case PolicyEntity::kIngress:
      return add({"ingress"});
    case PolicyEntity::kHealth:
      return add({"health"});
    case PolicyEntity::kInit:
      return add({"init"});
    case PolicyEntity::kUnmanaged:
      return add({"unmanaged"});
    case PolicyEntity::kCluster:
      add({"host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"});
      out.labels.push_back({{{"k8s", std::string(kClusterLabel), LabelOperator::kIn, {cluster}}}});
      return;
  }
}

// The prefix, and the aliases of the addresses in it that are not in it themselves.
std::vector<Prefix> forms_of(const Prefix& prefix, const AliasPrefixes& own_forms) {
  std::vector<Prefix> forms{prefix};
  for (const AliasPrefix& each : own_forms) {
    if (each.own.contains(prefix)) {
      forms.push_back(to_alias(std::span(&each, 1), prefix));
    } else if (prefix.contains(each.own) && !prefix.contains(each.alias)) {
      forms.push_back(each.alias);
    }
  }
  return forms;
}

void add_cidr(const PolicyCidr& cidr, const std::string& cluster, const AliasPrefixes& own_forms, const Model& model,
              PeerSelector& out, std::vector<Problem>& problems) {
  std::set<Prefix> holes;
  for (const Prefix& hole : cidr.except) {
    const std::vector<Prefix> forms = forms_of(hole, own_forms);
    holes.insert(forms.begin(), forms.end());
  }
  const auto add = [&](const Prefix& prefix) {
    for (const Prefix& form : forms_of(prefix, own_forms)) {
      CidrBlock block{form, {}};
      std::copy_if(holes.begin(), holes.end(), std::back_inserter(block.except),
                   [&](const Prefix& hole) { return form.contains(hole) || hole.contains(form); });
      out.cidrs.push_back(std::move(block));
    }
  };
  if (cidr.prefix) {
    add(*cidr.prefix);
    return;
  }
  if (!cidr.group.empty()) {
    const auto group = model.find<CidrGroupObject>({ObjectKind::kCidrGroup, cluster, {}, cidr.group});
    if (!group) {
      problems.push_back(
          {"references CiliumCIDRGroup " + cidr.group + ", which does not exist: this reference matches nothing",
           {},
           "create the group, or correct the name"});
      return;
    }
    std::for_each(group->prefixes.begin(), group->prefixes.end(), add);
    return;
  }
  model.visit<CidrGroupObject>(ObjectKind::kCidrGroup,
                               [&](const ObjectKey& key, const CidrGroupObject& group, const auto&) {
                                 if (key.cluster == cluster && matches(*cidr.groups, parse_labels(group.labels))) {
                                   std::for_each(group.prefixes.begin(), group.prefixes.end(), add);
                                 }
                               });
}

// A Service with a selector selects its pods: of every cluster if it is global, otherwise of ours. A Service without
// one selects the addresses in its EndpointSlices.
void add_service(const ObjectKey& key, const ServiceObject& service, const std::string& cluster, const Model& model,
                 PeerSelector& out) {
  if (!service.selector->empty()) {
    LabelSelector selector;
    for (const auto& [label, value] : *service.selector) {
      selector.requirements.push_back({"k8s", label, LabelOperator::kIn, {value}});
    }
    selector.requirements.push_back({"k8s", std::string(kNamespaceLabel), LabelOperator::kIn, {key.ns}});
    if (!service.global) {
      selector.requirements.push_back({"k8s", std::string(kClusterLabel), LabelOperator::kIn, {cluster}});
    }
    std::sort(selector.requirements.begin(), selector.requirements.end());
    out.labels.push_back(std::move(selector));
    return;
  }
  for (const auto& slice : model.slices_of(cluster, {key.ns, key.name})) {
    for (const SliceEndpoint& endpoint : slice->endpoints) {
      for (const IpAddress& address : endpoint.addresses) {
        out.cidrs.push_back({Prefix(address, address.is_ipv4() ? 32 : 128), {}});
      }
    }
  }
}

void add_services(const PolicyService& reference, const std::string& cluster, const Model& model, PeerSelector& out,
                  std::vector<Problem>& problems) {
  bool found = false;
  const auto consider = [&](const ObjectKey& key, const ServiceObject& service, const auto&) {
    if (key.cluster != cluster || (!reference.ns.empty() && key.ns != reference.ns)) {
      return;
    }
    if (reference.labels ? !matches(*reference.labels, parse_labels(*service.labels)) : key.name != reference.name) {
      return;
    }
    found = true;
    add_service(key, service, cluster, model, out);
  };
  if (!reference.labels && !reference.ns.empty()) {
    const ObjectKey key{ObjectKind::kService, cluster, reference.ns, reference.name};
    if (const auto service = model.find<ServiceObject>(key)) {
      consider(key, *service, 0);
    }
  } else {
    model.visit<ServiceObject>(ObjectKind::kService, consider);
  }
  if (!found) {
    const std::string name =
        reference.labels ? "Services with " + to_text(*reference.labels) : "Service " + reference.name;
    problems.push_back({"references " + name + (reference.ns.empty() ? "" : " of namespace " + reference.ns) +
                            ", which " + (reference.labels ? "do" : "does") +
                            " not exist: this reference matches nothing",
                        {},
                        "create the Service, or correct the reference"});
  }
}

}  // namespace

LabelSelector in_scope(LabelSelector selector, const std::string& cluster, SelectorScope scope) {
  bool excludes_clusters = false;
  for (const LabelRequirement& requirement : selector.requirements) {
    const bool of_cluster = requirement.key == kClusterLabel;
    if (requirement.source == "reserved" ||
        (of_cluster && (requirement.op == LabelOperator::kIn || requirement.op == LabelOperator::kExists))) {
      return selector;
    }
    excludes_clusters = excludes_clusters || of_cluster;
  }
  LabelRequirement required{"k8s", std::string(kClusterLabel), LabelOperator::kIn, {cluster}};
  if (excludes_clusters || scope == SelectorScope::kAny) {  // what belongs to no cluster is no endpoint
    required.op = LabelOperator::kExists;
    required.values.clear();
  }
  selector.requirements.push_back(std::move(required));
  std::sort(selector.requirements.begin(), selector.requirements.end());
  return selector;
}

PeerSelector resolve_peers(const PolicyRule& rule, const std::string& cluster, SelectorScope scope,
                           const AliasPrefixes& own_forms, const Model& model, std::vector<Problem>& problems) {
  PeerSelector out;
  for (const LabelSelector& selector : rule.endpoints) {
    out.labels.push_back(in_scope(selector, cluster, scope));
  }
  for (const PolicyEntity entity : rule.entities) {
    add_entity(entity, cluster, out);
  }
  for (const PolicyCidr& cidr : rule.cidrs) {
    add_cidr(cidr, cluster, own_forms, model, out, problems);
  }
  for (const PolicyService& service : rule.services) {
    add_services(service, cluster, model, out, problems);
  }
  const auto tidy = [](auto& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  tidy(out.labels);
  tidy(out.cidrs);
  return out;
}

std::vector<Prefix> prefixes_of(const PeerSelector& selector) {
  std::vector<Prefix> out;
  for (const CidrBlock& block : selector.cidrs) {
    out.push_back(block.prefix);
    out.insert(out.end(), block.except.begin(), block.except.end());
  }
  // An address without a prefix is world of either family; to select one family, that family needs a prefix.
  for (const LabelSelector& labels : selector.labels) {
    for (const LabelRequirement& requirement : labels.requirements) {
      if (requirement.source == "reserved" && (requirement.key == "world-ipv4" || requirement.key == "world-ipv6")) {
        out.push_back(Prefix::parse(requirement.key == "world-ipv4" ? "0.0.0.0/0" : "::/0").value());
      }
    }
  }
  return out;
}

}  // namespace isthmus
