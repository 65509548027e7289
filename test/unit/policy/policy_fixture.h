// Compiles policies from manifest text and evaluates the tables, for tests. Clusters east (1, ours) and west (2), with
// pods by role.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/compile/compiler.h"
#include "control/source/file/hub_objects.h"

namespace isthmus::policy_test {

inline constexpr std::uint8_t kAny = 0, kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpv6 = 58, kSctp = 132, kGre = 47;

struct Pod {
  std::string cluster, ns, name, address;
  std::uint32_t identity = 0;
  std::map<std::string, std::string> labels;
};

// Published by the hub of every test.
inline const std::vector<Pod>& pods() {
  static const std::vector<Pod> kPods{
      {"east", "shop", "cart", "10.1.0.1", 0x10101, {{"app", "cart"}, {"tier", "back"}}},
      {"east", "shop", "web", "10.1.0.2", 0x10102, {{"app", "web"}, {"tier", "front"}}},
      {"east", "bank", "ledger", "10.1.0.3", 0x10103, {{"app", "ledger"}}},
      {"west", "shop", "cart", "10.2.0.1", 0x20101, {{"app", "cart"}, {"tier", "back"}}},
      {"west", "shop", "web", "10.2.0.2", 0x20102, {{"app", "web"}, {"tier", "front"}}},
      {"west", "bank", "ledger", "10.2.0.3", 0x20103, {{"app", "ledger"}}},
  };
  return kPods;
}
// By "cluster/name".
inline const Pod& pod(const std::string& role) {
  return *std::find_if(pods().begin(), pods().end(), [&](const Pod& p) { return p.cluster + "/" + p.name == role; });
}

// The tables of an engine after all deltas so far.
struct PolicyTables {
  std::map<SelectorId, SelectorEntry> selectors;
  std::map<Identity, SubjectPolicy> subjects;
  PolicyDefaults defaults;
  std::vector<CidrIdentity> cidrs;
  std::map<std::pair<IpAddress, Identity>, Identity> receivers;

  void apply(const TableDelta& delta) {
    for (const SelectorId id : delta.remove_selectors) {
      selectors.erase(id);
    }
    for (const SelectorEntry& entry : delta.upsert_selectors) {
      selectors[entry.id] = entry;
    }
    for (const Identity subject : delta.remove_policies) {
      subjects.erase(subject);
    }
    for (const auto& policy : delta.upsert_policies) {
      subjects[policy->subject] = *policy;
    }
    for (const Receiver& each : delta.remove_receivers) {
      receivers.erase({each.address, each.identity});
    }
    for (const Receiver& each : delta.upsert_receivers) {
      receivers[{each.address, each.identity}] = each.receives_as;
    }
    defaults = delta.policy_defaults.value_or(defaults);
    cidrs = delta.cidr_identities.value_or(cidrs);
    std::erase_if(cidrs, [&](const CidrIdentity& each) {
      const auto& gone = delta.remove_cidrs;
      const auto& now = delta.upsert_cidrs;
      return std::find(gone.begin(), gone.end(), each.prefix) != gone.end() ||
             std::any_of(now.begin(), now.end(), [&](const CidrIdentity& n) { return n.prefix == each.prefix; });
    });
    cidrs.insert(cidrs.end(), delta.upsert_cidrs.begin(), delta.upsert_cidrs.end());
  }

  [[nodiscard]] Identity identity_of(const std::string& address) const {
    const auto ip = IpAddress::parse(address).value();
    const CidrIdentity* best = nullptr;
    for (const CidrIdentity& each : cidrs) {
      if (each.prefix.contains(ip) && (best == nullptr || each.prefix.length128() > best->prefix.length128())) {
        best = &each;
      }
    }
    return best == nullptr ? identity::kWorld : best->identity;
  }
  [[nodiscard]] Identity receives_as(const std::string& address, Identity identity) const {
    const auto at = receivers.find({IpAddress::parse(address).value(), identity});
    return at == receivers.end() ? identity : at->second;
  }
  [[nodiscard]] bool entry_matches(const PolicyEntry& entry, Identity peer, std::uint8_t protocol,
                                   std::uint16_t port) const {
    const bool peers =
        entry.peers == kEveryPeer || std::binary_search(selectors.at(entry.peers).identities->begin(),
                                                        selectors.at(entry.peers).identities->end(), peer);
    return peers && (entry.protocol == 0 || entry.protocol == protocol) && entry.first_port <= port &&
           port <= entry.last_port;
  }
  // As dataplane/api/policy.h defines it.
  [[nodiscard]] PolicyVerdict decide(bool egress, Identity subject, Identity peer, std::uint8_t protocol,
                                     std::uint16_t port) const {
    const auto found = subjects.find(subject);
    if (found == subjects.end()) {
      const bool deny = egress ? defaults.deny_egress : defaults.deny_ingress;
      return {deny ? PolicyOutcome::kDenied : PolicyOutcome::kAllowed, kNoRule};
    }
    const DirectionPolicy& policy = egress ? found->second.egress : found->second.ingress;
    for (const bool deny : {true, false}) {
      for (const PolicyEntry& entry : policy.entries) {
        if (entry.deny == deny && entry_matches(entry, peer, protocol, port)) {
          return {deny ? PolicyOutcome::kDeniedByRule : PolicyOutcome::kAllowed, entry.rule};
        }
      }
    }
    return {policy.enforced ? PolicyOutcome::kDenied : PolicyOutcome::kAllowed, kNoRule};
  }
};

class PolicyHub {
 public:
  explicit PolicyHub(PolicySettings settings = {}) {
    CompilerOptions options;
    options.cluster = "east";
    options.gateway = "east-1";
    options.ring_slots = 251;
    options.policy = settings;
    options.admission.node_ranges = {Prefix::parse("192.0.0.0/16").value()};
    compiler = std::make_unique<Compiler>(options, model, [](const IpAddress&) { return AdjacencyId{7}; });
    hub.set_text("fleet.yaml", "", fleet_text());
    for (const char* cluster : {"east", "west"}) {
      std::string text;
      for (const Pod& each : pods()) {
        text += each.cluster == cluster ? identity_text(each) + pod_text(each) : "";
      }
      hub.set_text(std::string(cluster) + "/pods.yaml", cluster, text);
    }
  }

  static std::string fleet_text() {
    std::string text;
    for (const auto& [name, id] : std::map<std::string, int>{{"east", 1}, {"west", 2}}) {
      const std::string n = std::to_string(id);
      text += "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: " + name + "}\nspec: {id: " + n +
              ", podCIDRs: [10." + n + ".0.0/16, \"fd00:" + n + "::/48\"], nodeCIDRs: [192.0." + n + ".0/24]}\n---\n" +
              "apiVersion: isthmus.io/v1alpha1\nkind: Gateway\nmetadata: {name: " + name +
              "-1}\nspec: {cluster: " + name + ", underlayAddress: 192.0." + n + ".1}\n---\n";
    }
    return text +
           "apiVersion: isthmus.io/v1alpha1\nkind: CrossClusterNetworkProfile\nmetadata: {name: fleet}\n"
           "spec: {clusters: [east, west]}\n";
  }
  static std::string identity_text(const Pod& p) {
    std::string text = "apiVersion: cilium.io/v2\nkind: CiliumIdentity\nmetadata: {name: \"" +
                       std::to_string(p.identity) +
                       "\"}\nsecurity-labels:\n  k8s:io.kubernetes.pod.namespace: " + p.ns +
                       "\n  k8s:io.cilium.k8s.policy.cluster: " + p.cluster +
                       "\n  k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name: " + p.ns + "\n";
    for (const auto& [key, value] : p.labels) {
      text += "  k8s:" + key + ": " + value + "\n";
    }
    return text + "---\n";
  }
  // The pod has the TCP port http: 8080 in east, 8081 in west.
  static std::string pod_text(const Pod& p) {
    const std::string port = p.cluster == "east" ? "8080" : "8081";
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + p.name + ", namespace: " + p.ns +
           "}\nspec: {containers: [{ports: [{name: http, containerPort: " + port +
           "}]}]}\nstatus: {podIP: " + p.address +
           "}\n---\napiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {name: " + p.name +
           ", namespace: " + p.ns + "}\nstatus: {identity: {id: " + std::to_string(p.identity) +
           "}, networking: {addressing: [{ipv4: " + p.address + "}]}}\n---\n";
  }

  // Sets a file of a cluster; empty text removes it.
  void file(const std::string& name, const std::string& text, const std::string& cluster = "east") {
    if (text.empty()) {
      hub.remove(cluster + "/" + name);
    } else {
      hub.set_text(cluster + "/" + name, cluster, text);
    }
  }
  CompileResult compile() {
    for (const ObjectDelta& delta : hub.take_deltas()) {
      model.apply(0, delta);
    }
    CompileResult result = compiler->compile(model.take_changes());
    tables.apply(result.delta);
    problems = result.problems;
    return result;
  }
  // Sets policy.yaml and compiles.
  CompileResult policy(const std::string& text) {
    file("policy.yaml", text);
    return compile();
  }
  [[nodiscard]] std::vector<std::string> errors() const {
    std::vector<std::string> texts;
    for (const SourceProblem& problem : hub.problems()) {
      texts.push_back(problem.provenance.text() + ": " + problem.what + " (" + problem.fix + ")");
    }
    return texts;
  }

  // Peers are the "cluster/name" of a pod, "reserved/number", or an address that is not an endpoint.
  [[nodiscard]] Identity identity_of(const std::string& peer) const {
    if (peer.starts_with("reserved/")) {
      return Identity{static_cast<std::uint32_t>(std::stoul(peer.substr(9)))};
    }
    return peer.find('/') == std::string::npos ? tables.identity_of(peer) : Identity{pod(peer).identity};
  }
  // As what the peer is decided for when it is the destination.
  [[nodiscard]] Identity receiver_of(const std::string& peer) const {
    const bool is_pod = peer.find('/') != std::string::npos && !peer.starts_with("reserved/");
    return is_pod ? tables.receives_as(pod(peer).address, identity_of(peer)) : identity_of(peer);
  }
  [[nodiscard]] PolicyVerdict ingress(const std::string& from, const std::string& to, std::uint8_t protocol,
                                      std::uint16_t port) const {
    return tables.decide(false, receiver_of(to), identity_of(from), protocol, port);
  }
  [[nodiscard]] PolicyVerdict egress(const std::string& from, const std::string& to, std::uint8_t protocol,
                                     std::uint16_t port) const {
    return tables.decide(true, identity_of(from), receiver_of(to), protocol, port);
  }

  HubObjects hub;
  Model model;
  std::unique_ptr<Compiler> compiler;
  PolicyTables tables;
  std::vector<Problem> problems;
};

inline bool allowed(const PolicyVerdict& verdict) { return verdict.outcome == PolicyOutcome::kAllowed; }

// Manifests with this spec, which is YAML indented by two. cnp() and knp() default to namespace shop.
inline std::string cnp(const std::string& spec, const std::string& name = "rule", const std::string& ns = "shop") {
  return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: " + name + ", namespace: " + ns +
         "}\nspec:\n" + spec + "\n---\n";
}
inline std::string ccnp(const std::string& spec, const std::string& name = "rule") {
  return "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: " + name + "}\nspec:\n" +
         spec + "\n---\n";
}
inline std::string knp(const std::string& spec, const std::string& name = "rule") {
  return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name +
         ", namespace: shop}\nspec:\n" + spec + "\n---\n";
}

}  // namespace isthmus::policy_test
