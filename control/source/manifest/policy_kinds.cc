// CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, NetworkPolicy and CiliumCIDRGroup.
#include <algorithm>
#include <array>
#include <utility>

#include "control/source/manifest/object_reader.h"
#include "control/source/manifest/policy_reader.h"

namespace isthmus {
namespace {

// How peers of one direction are written.
struct PeerKeys {
  std::string_view endpoints, requires_, cidr, cidr_set, entities, nodes, groups;
};
constexpr PeerKeys kFrom{"fromEndpoints", "fromRequires", "fromCIDR",  "fromCIDRSet",
                         "fromEntities",  "fromNodes",    "fromGroups"};
constexpr PeerKeys kTo{"toEndpoints", "toRequires", "toCIDR", "toCIDRSet", "toEntities", "toNodes", "toGroups"};

bool present(const YamlMap& map, std::string_view key) { return map.get(key) != nullptr; }

// A selector of peers as Cilium completes it: within the policy's namespace, or, for a clusterwide policy, of any pod;
// one that names reserved labels stays as it is. The cluster is completed where it is known.
LabelSelector read_peer(const YamlMap& item, const std::string& name_space, bool subject_is_init) {
  LabelSelector selector = read_label_selector(item, "any");
  const auto& all = selector.requirements;
  if (std::any_of(all.begin(), all.end(), [](const LabelRequirement& r) { return r.source == "reserved"; }) ||
      has_pod_key(selector, kPodNamespaceKey)) {
    return selector;
  }
  const bool by_namespace_labels = std::any_of(all.begin(), all.end(), [](const LabelRequirement& r) {
    return (r.source == "k8s" || r.source == "any") && r.key.starts_with(kNamespaceLabelsPrefix);
  });
  if (!name_space.empty() && !by_namespace_labels) {
    require_label(selector, kPodNamespaceKey, name_space);
  } else if (name_space.empty() && !subject_is_init) {
    require_presence(selector, kPodNamespaceKey);
  }
  return selector;
}

class SpecReader {
 public:
  SpecReader(const ObjectText& in, const YamlMap& spec) : in_(in), spec_(spec) {}

  std::optional<PolicySpec> read() {
    spec_.refuse_others({"endpointSelector", "nodeSelector", "ingress", "ingressDeny", "egress", "egressDeny",
                         "enableDefaultDeny", "labels", "description", "log"});
    if (const YamlNode* node = spec_.get("nodeSelector")) {
      spec_.fault(node->line, spec_.path("nodeSelector") + " is not supported: Isthmus is not in the hosts' path",
                  "leave host policies to the nodes' Cilium");
      return std::nullopt;
    }
    if (spec_.require("endpointSelector", "write {} to select every endpoint") == nullptr) {
      return std::nullopt;
    }
    read_subjects();
    if (!present(spec_, "ingress") && !present(spec_, "ingressDeny") && !present(spec_, "egress") &&
        !present(spec_, "egressDeny")) {
      spec_.fault(spec_.line(), spec_.path() + " has no rules", "write ingress, ingressDeny, egress or egressDeny");
    }
    read_section("ingress", false, false);
    read_section("ingressDeny", false, true);
    read_section("egress", true, false);
    read_section("egressDeny", true, true);
    read_default_deny();
    return std::move(out_);
  }

 private:
  void read_subjects() {
    const YamlMap map = spec_.map("endpointSelector");
    out_.subjects = read_label_selector(map, "any");
    auto& all = out_.subjects.requirements;
    subject_is_init_ = has_key(out_.subjects, "reserved", "init");
    if (in_.name_space.empty()) {
      return;
    }
    const auto own = [](const LabelRequirement& r) {
      return r.source == "k8s" && r.key == kPodNamespaceKey && r.op == LabelOperator::kIn;
    };
    for (const LabelRequirement& requirement : all) {
      if (own(requirement) && requirement.values != std::vector<std::string>{in_.name_space}) {
        map.warn(map.line(), map.path() + " names another namespace, which is ignored",
                 "write a policy in that namespace, or a CiliumClusterwideNetworkPolicy");
      }
    }
    all.erase(std::remove_if(all.begin(), all.end(), own), all.end());
    require_label(out_.subjects, kPodNamespaceKey, in_.name_space);
  }

  void read_section(std::string_view key, bool egress, bool deny) {
    const auto& list = spec_.list(key);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const YamlMap rule(&list[i], item_path(spec_.path(key), i), list[i].line, in_.root.faults());
      PolicyRule out;
      out.line = list[i].line - std::min(list[i].line, in_.root.line());
      out.egress = egress;
      out.deny = deny;
      check_keys(rule, egress, deny);
      read_peers(rule, egress ? kTo : kFrom, out);
      read_cilium_ports(rule, out);
      // Ports without a word about peers mean every peer; a rule without either chooses nobody.
      out.any_peer = out.any_peer || (!names_peers_ && !out.any_port);
      out_.rules.push_back(std::move(out));
    }
    bool& armed = egress ? out_.default_deny_egress : out_.default_deny_ingress;
    armed = armed || !list.empty();
  }

  static void check_keys(const YamlMap& rule, bool egress, bool deny) {
    const PeerKeys& k = egress ? kTo : kFrom;
    std::vector<std::string_view> known{k.endpoints, k.requires_, k.cidr,    k.cidr_set, k.entities,
                                        k.nodes,     k.groups,    "toPorts", "icmps"};
    if (egress) {
      known.insert(known.end(), {"toServices", "toFQDNs"});
    }
    if (!deny) {
      known.push_back("authentication");
    }
    rule.refuse_others(known);
    for (const auto& [key, why] : std::array<std::pair<std::string_view, std::string_view>, 4>{{
             {k.requires_, "Cilium has withdrawn it"},
             {k.nodes, "Isthmus does not know the nodes' labels"},
             {k.groups, "Isthmus does not ask a cloud for its groups"},
             {egress ? "toFQDNs" : "", "Isthmus does not follow DNS"},
         }}) {
      if (!rule.list(key).empty()) {
        rule.fault(rule.get(key)->line, rule.path(key) + " is not supported: " + std::string(why),
                   "remove it, or leave this policy to the nodes' Cilium");
      }
    }
    const YamlMap authentication = rule.map("authentication");
    if (authentication.present() && authentication.text("mode") != "disabled") {
      rule.fault(authentication.line(),
                 authentication.path() + " is not supported: Isthmus does not authenticate peers",
                 "remove it, or leave this policy to the nodes' Cilium");
    }
  }

  void read_peers(const YamlMap& rule, const PeerKeys& keys, PolicyRule& out) {
    YamlFaults& faults = rule.faults();
    names_peers_ = false;
    std::string chosen;
    for (const std::string_view key : {keys.endpoints, keys.cidr, keys.cidr_set, keys.entities, keys.nodes, keys.groups,
                                       std::string_view("toServices"), std::string_view("toFQDNs")}) {
      names_peers_ = names_peers_ || present(rule, key);
      if (rule.list(key).empty()) {
        continue;
      }
      if (!chosen.empty()) {
        rule.fault(rule.get(key)->line, rule.path() + " has " + chosen + " and " + std::string(key),
                   "write a rule for each");
      }
      chosen = key;
    }
    const auto& endpoints = rule.list(keys.endpoints);
    for (std::size_t i = 0; i < endpoints.size(); ++i) {
      const YamlMap item(&endpoints[i], item_path(rule.path(keys.endpoints), i), endpoints[i].line, faults);
      out.endpoints.push_back(read_peer(item, in_.name_space, subject_is_init_));
    }
    out.cidrs = read_cidr_list(rule.list(keys.cidr), rule.path(keys.cidr), faults);
    auto sets = read_cidr_sets(rule.list(keys.cidr_set), rule.path(keys.cidr_set), faults);
    out.cidrs.insert(out.cidrs.end(), std::make_move_iterator(sets.begin()), std::make_move_iterator(sets.end()));
    out.entities = read_entities(rule.list(keys.entities), rule.path(keys.entities), faults);
    out.any_peer = std::find(out.entities.begin(), out.entities.end(), PolicyEntity::kAll) != out.entities.end();
    if (out.egress) {
      out.services = read_services(rule.list("toServices"), rule.path("toServices"), faults);
    }
  }

  void read_default_deny() {
    const YamlMap map = spec_.map("enableDefaultDeny");
    map.refuse_others({"ingress", "egress"});
    if (const YamlNode* node = map.get("ingress")) {
      out_.default_deny_ingress =
          read_boolean(*node, map.path("ingress"), map.faults()).value_or(out_.default_deny_ingress);
    }
    if (const YamlNode* node = map.get("egress")) {
      out_.default_deny_egress =
          read_boolean(*node, map.path("egress"), map.faults()).value_or(out_.default_deny_egress);
    }
  }

  const ObjectText& in_;
  const YamlMap& spec_;
  PolicySpec out_;
  bool subject_is_init_ = false;
  bool names_peers_ = false;  // of the rule being read: some key about peers is there
};

// The peers of one element of from or to of a NetworkPolicy.
void read_kubernetes_peer(const YamlMap& item, const std::string& name_space, PolicyRule& out) {
  item.refuse_others({"podSelector", "namespaceSelector", "ipBlock"});
  const YamlMap pods = item.map("podSelector"), spaces = item.map("namespaceSelector"), block = item.map("ipBlock");
  if (block.present()) {
    block.refuse_others({"cidr", "except"});
    if (pods.present() || spaces.present()) {
      item.fault(block.line(), item.path() + " has ipBlock beside a selector", "write an element for each");
    }
    PolicyCidr cidr;
    if (const YamlNode* node = block.require("cidr", "write the block, such as 10.1.0.0/16")) {
      cidr.prefix = read_cidr(*node, block.path("cidr"), block.faults());
    }
    cidr.except = read_except(block, cidr.prefix);
    out.cidrs.push_back(std::move(cidr));
    return;
  }
  if (!pods.present() && !spaces.present()) {
    item.fault(item.line(), item.path() + " selects nothing", "write podSelector, namespaceSelector or ipBlock");
    return;
  }
  LabelSelector selector = read_label_selector(pods, "k8s");
  if (!spaces.present()) {
    require_label(selector, kPodNamespaceKey, name_space);
  } else {
    const LabelSelector of_spaces = read_label_selector(spaces, "k8s", kNamespaceLabelsPrefix);
    selector.requirements.insert(selector.requirements.end(), of_spaces.requirements.begin(),
                                 of_spaces.requirements.end());
    if (of_spaces.requirements.empty()) {
      require_presence(selector, kPodNamespaceKey);
    }
  }
  normalize(selector);
  out.endpoints.push_back(std::move(selector));
}

void read_kubernetes_rules(const ObjectText& in, const YamlMap& spec, bool egress, PolicySpec& out) {
  const std::string_view key = egress ? "egress" : "ingress", peers_key = egress ? "to" : "from";
  const auto& list = spec.list(key);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap rule(&list[i], item_path(spec.path(key), i), list[i].line, in.root.faults());
    rule.refuse_others({peers_key, "ports"});
    PolicyRule next;
    next.line = list[i].line - std::min(list[i].line, in.root.line());
    next.egress = egress;
    const auto& peers = rule.list(peers_key);
    next.any_peer = peers.empty();
    for (std::size_t p = 0; p < peers.size(); ++p) {
      const YamlMap item(&peers[p], item_path(rule.path(peers_key), p), peers[p].line, in.root.faults());
      read_kubernetes_peer(item, in.name_space, next);
    }
    read_kubernetes_ports(rule, next);
    out.rules.push_back(std::move(next));
  }
}

}  // namespace

std::optional<ObjectValue> read_cilium_policy(const ObjectText& in) {
  PolicyObject policy;
  in.root.refuse_others({"apiVersion", "kind", "metadata", "spec", "specs", "status"});
  const YamlMap single = in.root.map("spec");
  const auto& several = in.root.list("specs");
  if (!single.present() && several.empty()) {
    in.root.fault(in.root.line(), "the policy has neither spec nor specs", "write what it selects and allows");
  }
  if (single.present()) {
    if (auto spec = SpecReader(in, single).read()) {
      policy.specs.push_back(*std::move(spec));
    }
  }
  for (std::size_t i = 0; i < several.size(); ++i) {
    const YamlMap map(&several[i], item_path("specs", i), several[i].line, in.root.faults());
    if (auto spec = SpecReader(in, map).read()) {
      policy.specs.push_back(*std::move(spec));
    }
  }
  return policy;
}

std::optional<ObjectValue> read_network_policy(const ObjectText& in) {
  PolicySpec out;
  const YamlMap spec = in.root.map("spec");
  spec.refuse_others({"podSelector", "policyTypes", "ingress", "egress"});
  if (!spec.present()) {
    in.root.fault(in.root.line(), "the policy has no spec", "write what it selects and allows");
  }
  out.subjects = read_label_selector(spec.map("podSelector"), "k8s");
  require_label(out.subjects, kPodNamespaceKey, in.name_space);
  bool ingress = false, egress = false;
  const auto& types = spec.list("policyTypes");
  for (std::size_t i = 0; i < types.size(); ++i) {
    ingress = ingress || types[i].text == "Ingress";
    egress = egress || types[i].text == "Egress";
    if (types[i].text != "Ingress" && types[i].text != "Egress") {
      spec.fault(types[i].line, item_path("spec.policyTypes", i) + " is " + shown(types[i].text),
                 "write Ingress or Egress");
    }
  }
  if (types.empty()) {
    ingress = true;
    egress = !spec.list("egress").empty();
  }
  out.default_deny_ingress = ingress;
  out.default_deny_egress = egress;
  if (ingress) {
    read_kubernetes_rules(in, spec, false, out);
  }
  if (egress) {
    read_kubernetes_rules(in, spec, true, out);
  }
  PolicyObject policy;
  policy.specs.push_back(std::move(out));
  return policy;
}

std::optional<ObjectValue> read_cidr_group(const ObjectText& in) {
  CidrGroupObject group;
  const YamlMap spec = in.root.map("spec");
  const YamlNode* list = spec.require("externalCIDRs", "write the group's blocks as a list");
  for (const PolicyCidr& cidr : read_cidr_list(read_list(list, "spec.externalCIDRs", in.root.faults()),
                                               "spec.externalCIDRs", in.root.faults())) {
    append_once(group.prefixes, *cidr.prefix);
  }
  std::sort(group.prefixes.begin(), group.prefixes.end());
  group.labels = string_map(in.labels);
  return group;
}

}  // namespace isthmus
