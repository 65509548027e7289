#include "test/unit/policy/reference.h"

#include <algorithm>

namespace isthmus::policy_reference {
namespace {

constexpr auto kNamespace = "io.kubernetes.pod.namespace";
constexpr auto kCluster = "io.cilium.k8s.policy.cluster";

bool names(const Selector& selector, const std::string& key) {
  return std::any_of(selector.begin(), selector.end(), [&](const Condition& c) { return c.key == key; });
}

bool holds(const Condition& condition, const std::map<std::string, std::string>& labels) {
  const auto label = labels.find(condition.key);
  const bool there = label != labels.end();
  const bool listed = there && std::count(condition.values.begin(), condition.values.end(), label->second) != 0;
  switch (condition.op) {
    case Condition::Operator::kIn:
      return listed;
    case Condition::Operator::kNotIn:
      return !listed;
    case Condition::Operator::kExists:
      return there;
    case Condition::Operator::kDoesNotExist:
      return !there;
  }
  return false;
}

bool all_hold(const Selector& selector, const std::map<std::string, std::string>& labels) {
  return std::all_of(selector.begin(), selector.end(), [&](const Condition& c) { return holds(c, labels); });
}

bool within(std::uint32_t address, std::uint32_t block, unsigned length) {
  return length == 0 || ((address ^ block) >> (32 - length)) == 0;
}

bool selects(const Policy& policy, const Who& who) {
  return who.cluster == "east" && who.labelled &&
         (policy.kind == Policy::Kind::kClusterwide || who.labels.at(kNamespace) == policy.ns) &&
         all_hold(policy.subjects, who.labels);
}

// Of a pod without labels only the cluster is known, and that it has a namespace: a selector that needs more does not
// select it.
bool selects_unlabelled(const Policy& policy, const Selector& selector, const Who& peer) {
  const bool scoped = policy.kind != Policy::Kind::kClusterwide && !names(selector, kNamespace);
  return !scoped && (names(selector, kCluster) || peer.cluster == "east") &&
         std::all_of(selector.begin(), selector.end(), [&](const Condition& c) {
           return c.key == kCluster ? holds(c, peer.labels)
                                    : c.key == kNamespace && c.op == Condition::Operator::kExists;
         });
}

// Applies Cilium's default scope: the policy's namespace and the local cluster.
bool selected_by(const Policy& policy, const Selector& selector, const Who& peer) {
  if (!peer.labelled && !peer.node) {
    return selects_unlabelled(policy, selector, peer);
  }
  if (peer.node || (!names(selector, kCluster) && peer.cluster != "east")) {
    return false;
  }
  const bool any_namespace = policy.kind == Policy::Kind::kClusterwide || names(selector, kNamespace);
  return (any_namespace || peer.labels.at(kNamespace) == policy.ns) && all_hold(selector, peer.labels);
}

bool is_entity(const std::string& entity, const Who& peer) {
  if (entity == "all") {
    return true;
  }
  if (entity == "host") {
    return peer.node && peer.cluster == "east";
  }
  if (entity == "remote-node") {
    return peer.node && peer.cluster != "east";
  }
  // Every address here belongs to a cluster; world, none and others are empty.
  return entity == "cluster" && (peer.node || peer.cluster == "east");
}

bool default_denies(const Policy& policy, bool egress) {
  const auto& configured = egress ? policy.deny_egress : policy.deny_ingress;
  return configured ? *configured : std::any_of(policy.rules.begin(), policy.rules.end(), [&](const Rule& rule) {
    return rule.egress == egress;
  });
}

std::string address_text(std::uint32_t address) {
  return std::to_string(address >> 24) + "." + std::to_string(address >> 16 & 255) + "." +
         std::to_string(address >> 8 & 255) + "." + std::to_string(address & 255);
}

std::string selector_text(const Selector& selector) {
  static const char* kOperators[] = {"In", "NotIn", "Exists", "DoesNotExist"};
  std::string labels, expressions;
  for (const Condition& c : selector) {
    if (c.op == Condition::Operator::kIn && c.values.size() == 1) {
      labels += (labels.empty() ? "" : ", ") + c.key + ": " + c.values.front();
      continue;
    }
    std::string values;
    for (const std::string& value : c.values) {
      values += (values.empty() ? "" : ", ") + value;
    }
    expressions += (expressions.empty() ? "" : ", ") + std::string("{key: ") + c.key +
                   ", operator: " + kOperators[static_cast<int>(c.op)] +
                   (c.values.empty() ? "" : ", values: [" + values + "]") + "}";
  }
  return "{" + (labels.empty() ? "" : "matchLabels: {" + labels + "}") +
         (labels.empty() || expressions.empty() ? "" : ", ") +
         (expressions.empty() ? "" : "matchExpressions: [" + expressions + "]") + "}";
}

std::string block_text(const Block& block) {
  std::string except;
  for (const auto& [address, length] : block.except) {
    except += (except.empty() ? "" : ", ") + address_text(address) + "/" + std::to_string(length);
  }
  return "cidr: " + address_text(block.address) + "/" + std::to_string(block.length) +
         (except.empty() ? "" : ", except: [" + except + "]");
}

std::string port_text(const Port& port, bool kubernetes) {
  if (port.protocol == "ICMP") {
    return "{type: " + std::to_string(port.first) + "}";
  }
  const std::string quote = kubernetes ? "" : "\"";
  std::string text = "{port: " + (port.named ? "http" : quote + std::to_string(port.first) + quote);
  text += port.last > port.first ? ", endPort: " + std::to_string(port.last) : "";
  return text + (port.protocol == "ANY" ? "" : ", protocol: " + port.protocol) + "}";
}

std::string ports_text(const Rule& rule, bool kubernetes) {
  std::string list;
  for (const Port& port : rule.ports) {
    list += (list.empty() ? "" : ", ") + port_text(port, kubernetes);
  }
  if (list.empty()) {
    return "";
  }
  if (rule.ports.front().protocol == "ICMP") {
    return "icmps: [{fields: [" + list + "]}]";
  }
  return kubernetes ? "ports: [" + list + "]" : "toPorts: [{ports: [" + list + "]}]";
}

std::string peers_text(const Rule& rule, bool kubernetes) {
  const std::string side = rule.egress ? "to" : "from";
  std::string list;
  const auto add = [&](const std::string& item) { list += (list.empty() ? "" : ", ") + item; };
  for (const Selector& selector : rule.selectors) {
    add(kubernetes ? "{podSelector: " + selector_text(selector) + "}" : selector_text(selector));
  }
  for (const std::string& entity : rule.entities) {
    add(entity);
  }
  for (const Block& block : rule.blocks) {
    add(kubernetes ? "{ipBlock: {" + block_text(block) + "}}" : "{" + block_text(block) + "}");
  }
  if (rule.peers == Rule::Peers::kUnspecified) {
    return "";
  }
  if (kubernetes) {
    return side + ": [" + list + "]";
  }
  const char* key = rule.peers == Rule::Peers::kSelectors  ? "Endpoints"
                    : rule.peers == Rule::Peers::kEntities ? "Entities"
                                                           : "CIDRSet";
  return side + key + ": [" + list + "]";
}

std::string section_text(const Policy& policy, bool egress, bool deny) {
  const bool kubernetes = policy.kind == Policy::Kind::kKubernetes;
  std::string text;
  for (const Rule& rule : policy.rules) {
    if (rule.egress == egress && rule.deny == deny) {
      const std::string peers = peers_text(rule, kubernetes), ports = ports_text(rule, kubernetes);
      text += "  - {" + peers + (peers.empty() || ports.empty() ? "" : ", ") + ports + "}\n";
    }
  }
  const std::string name = std::string(egress ? "egress" : "ingress") + (deny ? "Deny" : "");
  return text.empty() ? "" : "  " + name + ":\n" + text;
}

bool covers(const Port& port, const Packet& packet) {
  constexpr std::uint16_t kEchoRequest = 8;
  if (port.protocol == "ICMP") {
    return packet.protocol == 1 && port.first == kEchoRequest;
  }
  const auto is = [&](std::uint8_t number, const char* name) {
    return packet.protocol == number && (port.protocol == name || port.protocol == "ANY");
  };
  if (!is(6, "TCP") && !is(17, "UDP") && !is(132, "SCTP")) {
    return false;
  }
  if (!port.named && port.first == 0) {
    return true;
  }
  if (!port.named) {
    return packet.port >= port.first && packet.port <= std::max(port.first, port.last);
  }
  if (packet.protocol != 6) {
    return false;  // http is always a TCP port
  }
  return packet.to->http != 0 && packet.to->http == packet.port;  // at the destination, in both directions
}

}  // namespace

std::string manifest(const Policy& policy) {
  static const char* kKinds[] = {"CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "NetworkPolicy"};
  const bool kubernetes = policy.kind == Policy::Kind::kKubernetes;
  std::string text = std::string("apiVersion: ") + (kubernetes ? "networking.k8s.io/v1" : "cilium.io/v2") +
                     "\nkind: " + kKinds[static_cast<int>(policy.kind)] + "\nmetadata: {name: " + policy.name +
                     (policy.ns.empty() ? "" : ", namespace: " + policy.ns) + "}\nspec:\n  " +
                     (kubernetes ? "podSelector: " : "endpointSelector: ") + selector_text(policy.subjects) + "\n";
  if (kubernetes) {
    text += std::string("  policyTypes: [") + (policy.deny_ingress.value_or(false) ? "Ingress" : "") +
            (policy.deny_ingress.value_or(false) && policy.deny_egress.value_or(false) ? ", " : "") +
            (policy.deny_egress.value_or(false) ? "Egress" : "") + "]\n";
  } else if (policy.deny_ingress || policy.deny_egress) {
    const auto word = [](bool value) { return value ? "true" : "false"; };
    text += "  enableDefaultDeny: {";
    text += policy.deny_ingress ? std::string("ingress: ") + word(*policy.deny_ingress) : "";
    text += policy.deny_ingress && policy.deny_egress ? ", " : "";
    text += policy.deny_egress ? std::string("egress: ") + word(*policy.deny_egress) : "";
    text += "}\n";
  }
  text += section_text(policy, false, false) + section_text(policy, false, true);
  text += section_text(policy, true, false) + section_text(policy, true, true);
  return text + "---\n";
}

bool Evaluator::selects_peer(const Policy& policy, const Rule& rule, const Who& peer) {
  switch (rule.peers) {
    case Rule::Peers::kUnspecified:
      return policy.kind == Policy::Kind::kKubernetes || !rule.ports.empty();
    case Rule::Peers::kSelectors:
      return std::any_of(rule.selectors.begin(), rule.selectors.end(),
                         [&](const Selector& selector) { return selected_by(policy, selector, peer); });
    case Rule::Peers::kEntities:
      return std::any_of(rule.entities.begin(), rule.entities.end(),
                         [&](const std::string& entity) { return is_entity(entity, peer); });
    case Rule::Peers::kBlocks:
      return !peer.node && !peer.labelled && std::any_of(rule.blocks.begin(), rule.blocks.end(), [&](const Block& b) {
        return within(peer.address, b.address, b.length) &&
               std::none_of(b.except.begin(), b.except.end(),
                            [&](const auto& hole) { return within(peer.address, hole.first, hole.second); });
      });
  }
  return false;
}

bool Evaluator::matches(const Policy& policy, const Rule& rule, const Packet& packet) const {
  const Who& peer = rule.egress ? *packet.to : *packet.from;
  return selects_peer(policy, rule, peer) &&
         (rule.ports.empty() ||
          std::any_of(rule.ports.begin(), rule.ports.end(), [&](const Port& port) { return covers(port, packet); }));
}

bool Evaluator::direction(const Packet& packet, bool egress) const {
  const Who& subject = egress ? *packet.from : *packet.to;
  bool armed = false, allow = false;
  for (const Policy& policy : policies_) {
    if (!selects(policy, subject)) {
      continue;
    }
    armed = armed || default_denies(policy, egress);
    for (const Rule& rule : policy.rules) {
      if (rule.egress != egress || !matches(policy, rule, packet)) {
        continue;
      }
      if (rule.deny) {
        return false;
      }
      allow = true;
    }
  }
  return allow || !armed;
}

bool Evaluator::passes(const Packet& packet) const {
  return (packet.from->cluster != "east" || direction(packet, true)) &&
         (packet.to->cluster != "east" || direction(packet, false));
}

}  // namespace isthmus::policy_reference
