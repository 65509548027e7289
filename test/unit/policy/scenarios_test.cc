// The L3 and L4 scenarios of Cilium's connectivity tests, as packets through the engine: in each of two clusters two
// clients, an echo service, a machine without labels, and a node.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/unit/policy/gateway_rig.h"

namespace isthmus {
namespace {

using namespace policy_reference;

constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17;
constexpr std::uint16_t kEchoPort = 8080;

std::vector<Who> make_actors() {
  std::vector<Who> all;
  for (const std::string cluster : {"east", "west"}) {
    const std::uint32_t id = cluster == "east" ? 1 : 2;
    const auto add = [&](const std::string& name, std::uint32_t host, std::map<std::string, std::string> labels) {
      Who who;
      who.cluster = cluster;
      who.name = name;
      who.address = 10U << 24 | id << 16 | host;
      who.labelled = !labels.empty();
      who.identity = who.labelled ? id << 16 | (0x100 + host) : 2;
      who.labels = std::move(labels);
      who.labels["io.cilium.k8s.policy.cluster"] = cluster;
      who.http = name == "echo" ? kEchoPort : 0;
      all.push_back(who);
    };
    const std::string ns_label = "io.kubernetes.pod.namespace";
    add("client", 1, {{ns_label, "test"}, {"kind", "client"}, {"name", "client"}});
    add("client2", 2, {{ns_label, "test"}, {"kind", "client"}, {"name", "client2"}, {"other", "client"}});
    add("echo", 3,
        {{ns_label, "test"}, {"kind", "echo"}, {"name", "echo"}, {"io.cilium.k8s.policy.serviceaccount", "echo"}});
    add("elsewhere", 4, {{ns_label, "other"}, {"kind", "client"}, {"name", "elsewhere"}});
    add("machine", 0x4d01, {});
    Who node;
    node.cluster = cluster;
    node.name = "node-" + cluster;
    node.address = 192U << 24 | id << 8 | 9;
    node.identity = id == 1 ? 1 : 6;
    node.node = true;
    all.push_back(node);
  }
  return all;
}

struct Try {
  const char *from, *to;  // "cluster/name"
  std::uint8_t protocol;
  bool passes;
};
struct Scenario {
  const char* name;  // name of Cilium's test
  std::string policies;
  std::vector<Try> tries;
};

std::string cnp(const std::string& spec) {
  return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: test}\nspec:\n" + spec +
         "\n---\n";
}
std::string ccnp(const std::string& spec) {
  return "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:\n" + spec +
         "\n---\n";
}
std::string knp(const std::string& spec) {
  return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: test}\nspec:\n" + spec +
         "\n---\n";
}
const std::string kAllow = "  ingress: [{fromEntities: [all]}]\n  egress: [{toEntities: [all]}]\n";
const std::string kWest = "io.cilium.k8s.policy.cluster: west";

class Scenarios : public ::testing::TestWithParam<Scenario> {};

TEST_P(Scenarios, MatchCiliumsConnectivityTests) {
  const std::vector<Who> actors = make_actors();
  const auto actor = [&](const std::string& role) {
    return &*std::find_if(actors.begin(), actors.end(),
                          [&](const Who& who) { return who.cluster + "/" + who.name == role; });
  };
  Gateway gateway;
  gateway.set("east", "fleet.yaml", fleet_manifest(actors, "east"));
  gateway.set("west", "fleet.yaml", fleet_manifest(actors, "west"));
  gateway.set("east", "policies.yaml", GetParam().policies);
  gateway.publish();
  std::uint16_t source_port = 40000;
  for (const Try& each : GetParam().tries) {
    Packet packet{actor(each.from), actor(each.to), each.protocol, ++source_port, kEchoPort};
    packet.port = each.protocol == kIcmp ? std::uint16_t{0} : kEchoPort;
    const bool passed = gateway.send({packet}).contains(tuple_of(packet));
    EXPECT_EQ(passed, each.passes) << each.from << " > " << each.to << " protocol " << unsigned{each.protocol};
  }
  EXPECT_EQ(gateway.other_drops(), 0U);
}

const std::string kEveryCluster = "{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}]}";
const Scenario kScenarios[] = {
    {"no_policies",
     "",
     {{"east/client", "west/echo", kTcp, true},
      {"west/client", "east/echo", kTcp, true},
      {"west/machine", "east/echo", kTcp, true},
      {"west/node-west", "east/echo", kIcmp, true}}},
    {"allow_all_except_world",
     ccnp("  endpointSelector: {}\n  ingress: [{fromEndpoints: [" + kEveryCluster +
          "]}, {fromEntities: [remote-node]}]\n  egress: [{toEndpoints: [" + kEveryCluster + "]}]"),
     {{"east/client", "west/echo", kTcp, true},
      {"west/client", "east/echo", kTcp, true},
      {"west/node-west", "east/echo", kTcp, true}}},
    {"allow_all_with_metrics_check",
     cnp("  endpointSelector: {}\n" + kAllow),
     {{"east/client", "west/echo", kTcp, true},
      {"west/client", "east/echo", kUdp, true},
      {"west/node-west", "east/echo", kIcmp, true}}},
    {"all_ingress_deny_from_outside",
     cnp("  endpointSelector: {}\n  ingress: [{}]"),
     {{"west/machine", "east/echo", kTcp, false},
      {"west/node-west", "east/echo", kTcp, false},
      {"east/echo", "west/machine", kTcp, true}}},
    {"all_ingress_deny",
     cnp("  endpointSelector: {}\n  ingress: [{}]"),
     {{"west/client", "east/echo", kTcp, false},
      {"west/client", "east/client", kIcmp, false},
      {"east/client", "west/echo", kTcp, true}}},
    {"all_ingress_deny_knp",
     knp("  podSelector: {}\n  policyTypes: [Ingress]"),
     {{"west/client", "east/echo", kTcp, false}, {"east/client", "west/echo", kTcp, true}}},
    {"all_egress_deny",
     cnp("  endpointSelector: {}\n  egress: [{}]"),
     {{"east/client", "west/echo", kTcp, false},
      {"east/client", "west/echo", kIcmp, false},
      {"west/client", "east/echo", kTcp, true}}},
    {"all_egress_deny_knp",
     knp("  podSelector: {}\n  policyTypes: [Egress]"),
     {{"east/client", "west/echo", kTcp, false}, {"west/client", "east/echo", kTcp, true}}},
    {"all_entities_deny",
     cnp("  endpointSelector: {}\n" + kAllow +
         "  ingressDeny: [{fromEntities: [all]}]\n  egressDeny: [{toEntities: [all]}]"),
     {{"east/client", "west/echo", kTcp, false}, {"west/client", "east/echo", kTcp, false}}},
    {"client_ingress",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n  ingress: [{fromEndpoints: [{matchLabels: {name: "
         "client, " +
         kWest + "}}]}]"),
     {{"west/client", "east/client2", kTcp, true},
      {"west/client2", "east/client2", kTcp, false},
      {"west/client", "east/echo", kTcp, true}}},
    {"client_ingress_knp",
     knp("  podSelector: {matchLabels: {kind: client}}\n  ingress: [{from: [{podSelector: "
         "{matchLabels: {name: client}}}]}]"),
     {{"east/client", "east/client2", kTcp, true}, {"west/client", "east/client2", kTcp, false}}},
    {"client_ingress_icmp",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n  ingress: [{fromEndpoints: [{matchLabels: {name: "
         "client, " +
         kWest + "}}], icmps: [{fields: [{type: 8, family: IPv4}]}]}]"),
     {{"west/client", "east/client2", kIcmp, true},
      {"west/client2", "east/client2", kIcmp, false},
      {"west/client", "east/client2", kTcp, false}}},
    {"client_egress",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n  egress: [{toEndpoints: [{matchLabels: {kind: echo, " +
         kWest + "}}], toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]}]"),
     {{"east/client", "west/echo", kTcp, true},
      {"east/client", "west/echo", kUdp, false},
      {"east/client", "west/client", kTcp, false},
      {"east/echo", "west/client", kTcp, true}}},
    {"client_egress_knp",
     knp("  podSelector: {matchLabels: {kind: client}}\n  policyTypes: [Egress]\n  egress: [{to: "
         "[{podSelector: {matchLabels: {kind: echo}}}], ports: [{port: 8080}]}]"),
     {{"east/client", "east/echo", kTcp, true},
      {"east/client", "east/client2", kTcp, false},
      {"east/client", "west/echo", kTcp, false}}},
    {"echo_ingress",
     cnp("  endpointSelector: {matchLabels: {kind: echo}}\n  ingress: [{fromEndpoints: [{matchLabels: {other: "
         "client, " +
         kWest + "}}], toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]}]"),
     {{"west/client2", "east/echo", kTcp, true},
      {"west/client", "east/echo", kTcp, false},
      {"west/client2", "east/echo", kIcmp, false}}},
    {"echo_ingress_knp",
     knp("  podSelector: {matchLabels: {kind: echo}}\n  ingress: [{from: [{podSelector: {matchLabels: "
         "{other: client}}}], ports: [{port: http}]}]"),
     {{"east/client2", "east/echo", kTcp, true}, {"east/client", "east/echo", kTcp, false}}},
    {"echo_ingress_from_outside",
     cnp("  endpointSelector: {matchLabels: {kind: echo}}\n  ingress: [{fromCIDR: [10.2.77.0/24]}]"),
     {{"west/machine", "east/echo", kTcp, true}, {"west/client", "east/echo", kTcp, false}}},
    {"cluster_entity",
     cnp("  endpointSelector: {matchLabels: {name: client}}\n  egress: [{toEntities: [cluster]}]"),
     {{"east/client", "east/echo", kTcp, true},
      {"east/client", "east/machine", kTcp, true},
      {"east/client", "west/echo", kTcp, false},
      {"east/client", "west/node-west", kTcp, true}}},
    {"cluster_entity_multi_cluster",
     cnp("  endpointSelector: {matchLabels: {name: client}}\n  ingress: [{fromEntities: [cluster]}]"),
     {{"east/client2", "east/client", kTcp, true},
      {"west/client2", "east/client", kTcp, false},
      {"west/machine", "east/client", kTcp, false}}},
    {"policy_local_cluster_egress",
     cnp("  endpointSelector: {matchLabels: {name: client}}\n  egress: [{toEndpoints: [{matchLabels: {kind: echo}}]}]"),
     {{"east/client", "east/echo", kTcp, true}, {"east/client", "west/echo", kTcp, false}}},
    {"host_entity_ingress",
     cnp("  endpointSelector: {}\n  ingress: [{fromEntities: [host]}]"),
     {{"east/node-east", "east/echo", kTcp, true}, {"west/node-west", "east/echo", kTcp, false}}},
    {"host_entity_egress",
     cnp("  endpointSelector: {}\n  egress: [{toEntities: [host, remote-node]}]"),
     {{"east/client", "east/node-east", kTcp, true},
      {"east/client", "west/node-west", kTcp, true},
      {"east/client", "west/echo", kTcp, false}}},
    {"egress_to_specific_namespace_ccnp",
     ccnp("  endpointSelector: {matchLabels: {name: client}}\n  egress: [{toEndpoints: [{matchLabels: "
          "{k8s:io.kubernetes.pod.namespace: other, " +
          kWest + "}}]}]"),
     {{"east/client", "west/elsewhere", kTcp, true}, {"east/client", "west/echo", kTcp, false}}},
    {"ingress_from_specific_namespace_ccnp",
     ccnp("  endpointSelector: {matchLabels: {kind: echo}}\n  ingress: [{fromEndpoints: [{matchLabels: "
          "{k8s:io.kubernetes.pod.namespace: other, " +
          kWest + "}}]}]"),
     {{"west/elsewhere", "east/echo", kTcp, true}, {"west/client", "east/echo", kTcp, false}}},
    {"echo_ingress_from_other_client_deny",
     cnp("  endpointSelector: {matchLabels: {kind: echo}}\n" + kAllow +
         "  ingressDeny: [{fromEndpoints: [{matchLabels: "
         "{other: client, " +
         kWest + "}}], toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]}]"),
     {{"west/client2", "east/echo", kTcp, false},
      {"west/client", "east/echo", kTcp, true},
      {"west/client2", "east/echo", kIcmp, true}}},
    {"client_ingress_from_other_client_icmp_deny",
     cnp("  endpointSelector: {matchLabels: {name: client}}\n" + kAllow +
         "  ingressDeny: [{fromEndpoints: [{matchLabels: "
         "{other: client, " +
         kWest + "}}], icmps: [{fields: [{type: EchoRequest}]}]}]"),
     {{"west/client2", "east/client", kIcmp, false},
      {"west/client", "east/client", kIcmp, true},
      {"west/client2", "east/client", kTcp, true}}},
    {"client_ingress_to_echo_named_port_deny",
     cnp("  endpointSelector: {matchLabels: {kind: echo}}\n" + kAllow +
         "  ingressDeny: [{fromEndpoints: [{matchLabels: "
         "{other: client, " +
         kWest + "}}], toPorts: [{ports: [{port: http}]}]}]"),
     {{"west/client2", "east/echo", kTcp, false},
      {"west/client", "east/echo", kTcp, true},
      {"west/client2", "east/echo", kUdp, true}}},
    {"client_egress_to_echo_deny",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n" + kAllow +
         "  egressDeny: [{toEndpoints: [{matchLabels: "
         "{kind: echo, " +
         kWest + "}}], toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]}]"),
     {{"east/client", "west/echo", kTcp, false},
      {"east/client", "west/echo", kIcmp, true},
      {"east/client", "west/client", kTcp, true}}},
    {"client_egress_to_echo_expression_deny",
     cnp("  endpointSelector: {matchExpressions: [{key: kind, operator: In, values: [client]}]}\n" + kAllow +
         "  egressDeny: [{toEndpoints: [{matchExpressions: [{key: kind, operator: In, values: [echo]}, {key: "
         "io.cilium.k8s.policy.cluster, operator: Exists}]}]}]"),
     {{"east/client", "west/echo", kTcp, false},
      {"east/client", "east/echo", kTcp, false},
      {"east/client", "west/client", kTcp, true}}},
    {"client_egress_to_echo_service_account_deny",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n" + kAllow +
         "  egressDeny: [{toEndpoints: [{matchLabels: {io.cilium.k8s.policy.serviceaccount: echo, " + kWest + "}}]}]"),
     {{"east/client", "west/echo", kTcp, false},
      {"east/client", "west/client", kTcp, true},
      {"east/client", "east/echo", kTcp, true}}},
    {"client_egress_to_echo_port_range_deny",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n" + kAllow +
         "  egressDeny: [{toEndpoints: [{matchLabels: {kind: echo, " + kWest +
         "}}], toPorts: [{ports: [{port: \"8000\", endPort: 9000, protocol: TCP}]}]}]"),
     {{"east/client", "west/echo", kTcp, false}, {"east/client", "west/echo", kUdp, true}}},
    {"client_egress_to_echo_named_port_deny",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n" + kAllow +
         "  egressDeny: [{toEndpoints: [{matchLabels: "
         "{kind: echo, " +
         kWest + "}}], toPorts: [{ports: [{port: http}]}]}]"),
     {{"east/client", "west/echo", kTcp, false}, {"east/client", "west/echo", kUdp, true}}},
    {"client_egress_to_cidr_deny",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n" + kAllow +
         "  egressDeny: [{toCIDRSet: [{cidr: 10.2.0.0/16, except: [10.2.80.0/24]}]}]"),
     {{"east/client", "west/machine", kTcp, false}, {"east/client", "west/echo", kTcp, true}}},
    {"client_egress_to_cidr_deny_default",
     cnp("  endpointSelector: {matchLabels: {kind: client}}\n  egressDeny: [{toCIDR: [10.2.0.0/16]}]"),
     {{"east/client", "west/machine", kTcp, false},
      {"east/client", "west/echo", kTcp, false},
      {"east/echo", "west/machine", kTcp, true}}},
    {"client_egress_to_cidrgroup_deny",
     "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {externalCIDRs: "
     "[10.2.77.0/24]}\n---\n" +
         cnp("  endpointSelector: {}\n" + kAllow + "  egressDeny: [{toCIDRSet: [{cidrGroupRef: g}]}]"),
     {{"east/client", "west/machine", kTcp, false}, {"east/client", "west/echo", kTcp, true}}},
    {"client_egress_to_cidrgroup_deny_by_label",
     "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g, labels: {a: b}}\nspec: {externalCIDRs: "
     "[10.2.77.0/24]}\n---\n" +
         cnp("  endpointSelector: {}\n" + kAllow +
             "  egressDeny: [{toCIDRSet: [{cidrGroupSelector: {matchLabels: {a: b}}}]}]"),
     {{"east/client", "west/machine", kTcp, false}, {"east/client", "west/echo", kTcp, true}}},
    {"to_cidr_external",
     cnp("  endpointSelector: {}\n  egress: [{toCIDRSet: [{cidr: 10.2.77.0/24, except: [10.2.77.2/32]}]}]"),
     {{"east/client", "west/machine", kTcp, true}, {"east/client", "west/echo", kTcp, false}}},
    {"to_cidr_external_knp",
     knp("  podSelector: {}\n  policyTypes: [Egress]\n  egress: [{to: [{ipBlock: {cidr: 10.2.77.0/24, except: "
         "[10.2.77.1/32]}}]}]"),
     {{"east/client", "west/machine", kTcp, false}}},
    {"from_cidr_host_netns",
     cnp("  endpointSelector: {}\n  ingress: [{fromCIDR: [192.0.2.0/24]}]"),
     {{"west/node-west", "east/echo", kTcp, false}}},
    {"pod_to_controlplane_host",
     cnp("  endpointSelector: {}\n  egress: [{toEntities: [host, remote-node, kube-apiserver]}]"),
     {{"east/client", "west/node-west", kTcp, true},
      {"east/client", "east/node-east", kTcp, true},
      {"east/client", "west/client", kTcp, false}}},
    {"pod_to_node_cidrpolicy",
     cnp("  endpointSelector: {}\n  egress: [{toCIDR: [192.0.2.0/24]}]"),
     {{"east/client", "west/node-west", kTcp, false}}},
};
INSTANTIATE_TEST_SUITE_P(Policies, Scenarios, ::testing::ValuesIn(kScenarios),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace isthmus
