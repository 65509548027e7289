// CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, NetworkPolicy and CiliumCIDRGroup.
#include <algorithm>
#include <array>
#include <utility>

#include "control/source/manifest/object_reader.h"
#include "control/source/manifest/policy_reader.h"

namespace isthmus {
namespace {

// The keys for peers of one direction.
struct PeerKeys {
  std::string_view endpoints, requires_, cidr, cidr_set, entities, nodes, groups;
};
constexpr PeerKeys kFrom{"fromEndpoints", "fromRequires", "fromCIDR",  "fromCIDRSet",
                         "fromEntities",  "fromNodes",    "fromGroups"};
constexpr PeerKeys kTo{"toEndpoints", "toRequires", "toCIDR", "toCIDRSet", "toEntities", "toNodes", "toGroups"};

bool present(const YamlMap& map, std::string_view key) { return map.get(key) != nullptr; }

void select_nobody(PolicyRule& rule) {
  rule.any_peer = false;
  rule.endpoints.clear();
  rule.entities.clear();
  rule.cidrs.clear();
  rule.services.clear();
}

// A peer selector, completed as Cilium does: limited to the policy's namespace or, for a clusterwide policy, to pods.
// One that only excludes namespaces selects pods too, not what has no namespace. A selector on reserved labels is not
// changed. The cluster is added later, where it is known.
LabelSelector read_peer(const YamlMap& item, const std::string& ns, bool subject_is_init) {
  LabelSelector selector = read_label_selector(item, "any");
  const auto& all = selector.requirements;
  if (std::any_of(all.begin(), all.end(), [](const LabelRequirement& r) { return r.source == "reserved"; })) {
    return selector;
  }
  if (has_pod_key(selector, kPodNamespaceKey)) {
    require_presence(selector, kPodNamespaceKey);
    return selector;
  }
  const bool by_namespace_labels = std::any_of(all.begin(), all.end(), [](const LabelRequirement& r) {
    return (r.source == "k8s" || r.source == "any") && r.key.starts_with(kNamespaceLabelsPrefix);
  });
  if (!ns.empty() && !by_namespace_labels) {
    require_label(selector, kPodNamespaceKey, ns);
  } else if (!ns.empty() || !subject_is_init) {
    require_presence(selector, kPodNamespaceKey);
  }
  return selector;
}

class SpecReader {
 public:
  SpecReader(const ObjectText& in, const YamlMap& spec) : in_(in), spec_(spec), whole_(spec.errors()) {}

  // Nothing when it is not known whom the spec selects.

  std::optional<PolicySpec> read() {
    spec_.reject_others({"endpointSelector", "nodeSelector", "ingress", "ingressDeny", "egress", "egressDeny",
                         "enableDefaultDeny", "labels", "description", "log"});
    if (const YamlNode* node = spec_.get("nodeSelector")) {
      spec_.error(node->line,
                  spec_.path("nodeSelector") + " is not supported: Isthmus is not in the path of host traffic",
                  "enforce host policies with Cilium on the nodes");
      return std::nullopt;
    }
    if (spec_.require("endpointSelector", "write {} to select every endpoint") == nullptr) {
      return std::nullopt;
    }
    const RefusalGuard subjects(spec_.errors());
    read_subjects();
    if (subjects.has_errors()) {
      return std::nullopt;
    }
    if (spec_.list("ingress").empty() && spec_.list("ingressDeny").empty() && spec_.list("egress").empty() &&
        spec_.list("egressDeny").empty()) {
      spec_.error(spec_.line(), spec_.path() + " has no rules", "write ingress, ingressDeny, egress or egressDeny");
    }
    read_section("ingress", false, false);
    read_section("ingressDeny", false, true);
    read_section("egress", true, false);
    read_section("egressDeny", true, true);
    if (whole_.has_errors()) {
      close_named_directions();
    }
    read_default_deny();
    return std::move(out_);
  }

 private:
  void read_subjects() {
    const YamlMap map = spec_.map("endpointSelector");
    // As in Cilium, the policy's own namespace takes the place of this label; expressions on it are kept.
    constexpr std::string_view kReplaced = "k8s:io.kubernetes.pod.namespace";
    out_.subjects = read_label_selector(map, "any", {}, in_.ns.empty() ? std::string_view() : kReplaced);
    subject_is_init_ = has_key(out_.subjects, "reserved", "init");
    if (in_.ns.empty()) {
      return;
    }
    const YamlNode* labels = map.get("matchLabels");
    const YamlNode* ns = labels == nullptr ? nullptr : labels->find(kReplaced);
    if (ns != nullptr && ns->text != in_.ns) {
      map.warn(map.line(), map.path() + " names another namespace; that is ignored",
               "write a policy in that namespace, or a CiliumClusterwideNetworkPolicy");
    }
    require_label(out_.subjects, kPodNamespaceKey, in_.ns);
  }

  void read_section(std::string_view key, bool egress, bool deny) {
    const auto& list = spec_.list(key);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const RefusalGuard guard(in_.root.errors());
      const YamlMap rule(&list[i], item_path(spec_.path(key), i), list[i].line, in_.root.errors());
      PolicyRule out;
      out.line = list[i].line - std::min(list[i].line, in_.root.line());
      out.egress = egress;
      out.deny = deny;
      check_keys(rule, egress, deny);
      read_peers(rule, egress ? kTo : kFrom, out);
      read_cilium_ports(rule, out);
      // A rule with ports and without peers applies to every peer; a rule with neither selects no peer.
      out.any_peer = out.any_peer || (!names_peers_ && !out.any_port);
      guard.add_rule(std::move(out), out_);
    }
    bool& default_deny = egress ? out_.default_deny_egress : out_.default_deny_ingress;
    default_deny = default_deny || !list.empty();
  }

  // In a spec with errors, a section without rules that can be read closes its direction too.
  void close_named_directions() {
    out_.default_deny_ingress = out_.default_deny_ingress || present(spec_, "ingress") || present(spec_, "ingressDeny");
    out_.default_deny_egress = out_.default_deny_egress || present(spec_, "egress") || present(spec_, "egressDeny");
  }

  static void check_keys(const YamlMap& rule, bool egress, bool deny) {
    const PeerKeys& keys = egress ? kTo : kFrom;
    std::vector<std::string_view> known{keys.endpoints, keys.requires_, keys.cidr, keys.cidr_set, keys.entities,
                                        keys.nodes,     keys.groups,    "toPorts", "icmps"};
    if (egress) {
      known.insert(known.end(), {"toServices", "toFQDNs"});
    }
    if (!deny) {
      known.push_back("authentication");
    }
    rule.reject_others(known);
    for (const auto& [key, why] : std::array<std::pair<std::string_view, std::string_view>, 4>{{
             {keys.requires_, "Cilium has removed it"},
             {keys.nodes, "Isthmus does not know the nodes' labels"},
             {keys.groups, "Isthmus does not query cloud providers for groups"},
             {egress ? "toFQDNs" : "", "Isthmus does not observe DNS"},
         }}) {
      if (!rule.list(key).empty()) {
        rule.error(rule.get(key)->line, rule.path(key) + " is not supported: " + std::string(why),
                   "remove it, or enforce this policy with Cilium on the nodes");
      }
    }
    const YamlMap authentication = rule.map("authentication");
    if (authentication.present() && authentication.text("mode") != "disabled") {
      rule.error(authentication.line(),
                 authentication.path() + " is not supported: Isthmus does not authenticate peers",
                 "remove it, or enforce this policy with Cilium on the nodes");
    }
  }

  void read_peers(const YamlMap& rule, const PeerKeys& keys, PolicyRule& out) {
    YamlErrors& errors = rule.errors();
    names_peers_ = false;
    bool lists_nobody = false;  // as in Cilium, a list without elements selects nobody, whatever is beside it
    std::string peer_key;
    for (const std::string_view key : {keys.endpoints, keys.cidr, keys.cidr_set, keys.entities, keys.nodes, keys.groups,
                                       std::string_view("toServices"), std::string_view("toFQDNs")}) {
      if (!present(rule, key)) {
        continue;
      }
      names_peers_ = true;
      if (rule.list(key).empty()) {
        lists_nobody = true;
        continue;
      }
      if (!peer_key.empty()) {
        rule.error(rule.get(key)->line, rule.path() + " has " + peer_key + " and " + std::string(key),
                   "write a separate rule for each");
      }
      peer_key = key;
    }
    const auto& endpoints = rule.list(keys.endpoints);
    for (std::size_t i = 0; i < endpoints.size(); ++i) {
      const YamlMap item(&endpoints[i], item_path(rule.path(keys.endpoints), i), endpoints[i].line, errors);
      out.endpoints.push_back(read_peer(item, in_.ns, subject_is_init_));
    }
    out.cidrs = read_cidr_list(rule.list(keys.cidr), rule.path(keys.cidr), errors);
    auto sets = read_cidr_sets(rule.list(keys.cidr_set), rule.path(keys.cidr_set), errors);
    out.cidrs.insert(out.cidrs.end(), std::make_move_iterator(sets.begin()), std::make_move_iterator(sets.end()));
    out.entities = read_entities(rule.list(keys.entities), rule.path(keys.entities), errors);
    out.any_peer = std::find(out.entities.begin(), out.entities.end(), PolicyEntity::kAll) != out.entities.end();
    if (out.egress) {
      out.services = read_services(rule.list("toServices"), rule.path("toServices"), errors);
    }
    if (lists_nobody) {
      select_nobody(out);
    }
  }

  void read_default_deny() {
    const YamlMap map = spec_.map("enableDefaultDeny");
    map.reject_others({"ingress", "egress"});
    if (const YamlNode* node = map.get("ingress")) {
      out_.default_deny_ingress =
          read_boolean(*node, map.path("ingress"), map.errors()).value_or(out_.default_deny_ingress);
    }
    if (const YamlNode* node = map.get("egress")) {
      out_.default_deny_egress =
          read_boolean(*node, map.path("egress"), map.errors()).value_or(out_.default_deny_egress);
    }
  }

  const ObjectText& in_;
  const YamlMap& spec_;
  const RefusalGuard whole_;
  PolicySpec out_;
  bool subject_is_init_ = false;
  bool names_peers_ = false;  // the current rule has a key that selects peers
};

// One element of from or to of a NetworkPolicy.
void read_kubernetes_peer(const YamlMap& item, const std::string& ns, PolicyRule& out) {
  item.reject_others({"podSelector", "namespaceSelector", "ipBlock"});
  const YamlMap pods = item.map("podSelector"), namespaces = item.map("namespaceSelector"), block = item.map("ipBlock");
  if (block.present()) {
    block.reject_others({"cidr", "except"});
    if (pods.present() || namespaces.present()) {
      item.error(block.line(), item.path() + " has both ipBlock and a selector", "write a separate element for each");
    }
    PolicyCidr cidr;
    if (const YamlNode* node = block.require("cidr", "write the block, such as 10.1.0.0/16")) {
      cidr.prefix = read_cidr(*node, block.path("cidr"), block.errors(), CidrForm::kPrefix);
    }
    cidr.except = read_except(block, cidr.prefix);
    out.cidrs.push_back(std::move(cidr));
    return;
  }
  if (!pods.present() && !namespaces.present()) {
    item.error(item.line(), item.path() + " selects nothing", "write podSelector, namespaceSelector or ipBlock");
    return;
  }
  LabelSelector selector = read_label_selector(pods, "k8s");
  if (!namespaces.present()) {
    require_label(selector, kPodNamespaceKey, ns);
  } else {
    const LabelSelector namespace_labels = read_label_selector(namespaces, "k8s", kNamespaceLabelsPrefix);
    selector.requirements.insert(selector.requirements.end(), namespace_labels.requirements.begin(),
                                 namespace_labels.requirements.end());
    require_presence(selector, kPodNamespaceKey);
  }
  normalize(selector);
  out.endpoints.push_back(std::move(selector));
}

void read_kubernetes_rules(const ObjectText& in, const YamlMap& spec, bool egress, PolicySpec& out) {
  const std::string_view key = egress ? "egress" : "ingress", peers_key = egress ? "to" : "from";
  const auto& list = spec.list(key);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const RefusalGuard guard(in.root.errors());
    const YamlMap rule(&list[i], item_path(spec.path(key), i), list[i].line, in.root.errors());
    rule.reject_others({peers_key, "ports"});
    PolicyRule next;
    next.line = list[i].line - std::min(list[i].line, in.root.line());
    next.egress = egress;
    const auto& peers = rule.list(peers_key);
    next.any_peer = peers.empty();
    for (std::size_t p = 0; p < peers.size(); ++p) {
      const YamlMap item(&peers[p], item_path(rule.path(peers_key), p), peers[p].line, in.root.errors());
      read_kubernetes_peer(item, in.ns, next);
    }
    read_kubernetes_ports(rule, next);
    guard.add_rule(std::move(next), out);
  }
}

struct Directions {
  bool ingress = false, egress = false;
};

Directions read_policy_types(const YamlMap& spec) {
  Directions out;
  const auto& types = spec.list("policyTypes");
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool known = types[i].text == "Ingress" || types[i].text == "Egress";
    // A type that cannot be read may be either.
    out.ingress = out.ingress || !known || types[i].text == "Ingress";
    out.egress = out.egress || !known || types[i].text == "Egress";
    if (!known) {
      spec.error(types[i].line, item_path("spec.policyTypes", i) + " is " + shown(types[i].text),
                 "write Ingress or Egress");
    }
  }
  return types.empty() ? Directions{true, !spec.list("egress").empty()} : out;
}

}  // namespace

bool RefusalGuard::has_errors() const {
  return std::any_of(errors_.begin() + static_cast<std::ptrdiff_t>(before_), errors_.end(),
                     [](const YamlError& error) { return !error.warning; });
}

void RefusalGuard::add_rule(PolicyRule rule, PolicySpec& out) const {
  if (has_errors()) {
    if (!rule.deny) {
      return;
    }
    select_nobody(rule);
    rule.ports.clear();
    rule.any_peer = rule.any_port = true;
  }
  out.rules.push_back(std::move(rule));
}

std::optional<ObjectValue> read_cilium_policy(const ObjectText& in) {
  PolicyObject policy;
  in.root.reject_others({"apiVersion", "kind", "metadata", "spec", "specs", "status"});
  const YamlMap single = in.root.map("spec");
  const auto& several = in.root.list("specs");
  if (!single.present() && several.empty()) {
    in.root.error(in.root.line(), "the policy has neither spec nor specs", "write what it selects and allows");
  }
  if (single.present()) {
    if (auto spec = SpecReader(in, single).read()) {
      policy.specs.push_back(*std::move(spec));
    }
  }
  for (std::size_t i = 0; i < several.size(); ++i) {
    const YamlMap map(&several[i], item_path("specs", i), several[i].line, in.root.errors());
    if (auto spec = SpecReader(in, map).read()) {
      policy.specs.push_back(*std::move(spec));
    }
  }
  return policy;
}

std::optional<ObjectValue> read_network_policy(const ObjectText& in) {
  PolicySpec out;
  const YamlMap spec = in.root.map("spec");
  spec.reject_others({"podSelector", "policyTypes", "ingress", "egress"});
  if (!spec.present()) {
    in.root.error(in.root.line(), "the policy has no spec", "write what it selects and allows");
  }
  const RefusalGuard subjects(in.root.errors());
  out.subjects = read_label_selector(spec.map("podSelector"), "k8s");
  if (!spec.present() || subjects.has_errors()) {
    return PolicyObject{};
  }
  require_label(out.subjects, kPodNamespaceKey, in.ns);
  const auto [ingress, egress] = read_policy_types(spec);
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
  for (const PolicyCidr& cidr : read_cidr_list(read_list(list, "spec.externalCIDRs", in.root.errors()),
                                               "spec.externalCIDRs", in.root.errors())) {
    append_once(group.prefixes, *cidr.prefix);
  }
  std::sort(group.prefixes.begin(), group.prefixes.end());
  group.labels = string_map(in.labels);
  return group;
}

}  // namespace isthmus
