// Compiles policies from manifest text to tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(PolicyCompile, APolicyAllowsItsPeersOnItsPortsAndDeniesTheRest) {
  PolicyHub hub;
  hub.policy(cnp(R"(  endpointSelector: {matchLabels: {app: cart}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web, io.cilium.k8s.policy.cluster: west}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}])"));
  EXPECT_TRUE(allowed(hub.ingress("west/web", "east/cart", kTcp, 8080)));
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/cart", kTcp, 8081)));
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/cart", kUdp, 8080)));
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 8080)));
  EXPECT_FALSE(allowed(hub.ingress("west/ledger", "east/cart", kTcp, 8080)));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "west/web", kTcp, 8080))) << "the policy has no egress rules";
  EXPECT_TRUE(allowed(hub.ingress("west/web", "east/web", kTcp, 8080))) << "not selected";
}

TEST(PolicyCompile, ARuleIdResolvesToPolicyFileAndLine) {
  PolicyHub hub;
  hub.policy("# a comment\n" + cnp(R"(  endpointSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
  - fromEntities: [all])"));
  const PolicyVerdict verdict = hub.ingress("west/web", "east/cart", kTcp, 80);
  ASSERT_TRUE(allowed(verdict));
  const auto name = hub.compiler->rule_name(verdict.rule);
  ASSERT_TRUE(name);
  EXPECT_EQ(name->policy(), "CiliumNetworkPolicy shop/rule");
  EXPECT_EQ(name->where(), "east/policy.yaml:9");
  EXPECT_FALSE(hub.compiler->rule_name(kNoRule));
}

TEST(DefaultLocalCluster, SaysWhoseAPeerIsWithoutAClustersName) {
  struct Row {
    const char* peers;
    const char* from;
    bool own, any;  // allowed where no cluster means this one; where it means any
  };
  for (const Row& row :
       {Row{"{matchLabels: {app: web}}", "east/web", true, true},
        Row{"{matchLabels: {app: web}}", "west/web", false, true},
        Row{"{matchLabels: {app: web}}", "west/ledger", false, false}, Row{"{}", "west/web", false, true},
        Row{"{}", "192.0.2.77", false, false},
        Row{"{matchLabels: {app: web, io.cilium.k8s.policy.cluster: west}}", "west/web", true, true},
        Row{"{matchLabels: {app: web, io.cilium.k8s.policy.cluster: west}}", "east/web", false, false},
        Row{"{matchLabels: {app: web, io.cilium.k8s.policy.cluster: east}}", "west/web", false, false}}) {
    for (const SelectorScope scope : {SelectorScope::kOwn, SelectorScope::kAny}) {
      SCOPED_TRACE(std::string(row.peers) + " " + row.from + (scope == SelectorScope::kOwn ? ", own" : ", any"));
      PolicySettings settings;
      settings.scope = scope;
      PolicyHub hub(settings);
      hub.policy(cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress:\n  - fromEndpoints: [" +
                     std::string(row.peers) + "]"));
      EXPECT_THAT(hub.errors(), IsEmpty());
      EXPECT_EQ(allowed(hub.ingress(row.from, "east/cart", kTcp, 80)),
                scope == SelectorScope::kOwn ? row.own : row.any);
    }
  }
}

std::string agents(const std::string& data) {
  return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\ndata: {" + data +
         "}\n";
}

TEST(DefaultLocalCluster, FollowsTheAgentsConfiguration) {
  PolicyHub hub;
  hub.policy(cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress:\n  - fromEndpoints: [{}]"));
  const auto any = [&] { return allowed(hub.ingress("west/web", "east/cart", kTcp, 80)); };
  EXPECT_FALSE(any()) << "nothing is known of the agents";
  const auto set = [&](const std::string& cluster, const std::string& data) {
    hub.hub.set_text(cluster + "/agents.yaml", cluster, agents(data));
    hub.compile();
    EXPECT_THAT(hub.errors(), IsEmpty());
  };
  set("east", "policy-default-local-cluster: \"false\"");
  EXPECT_TRUE(any());
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  set("east", "policy-default-local-cluster: \"true\"");
  EXPECT_FALSE(any());
  set("east", "policy-default-local-cluster: F");
  EXPECT_TRUE(any());
  set("east", "cluster-name: east");
  EXPECT_FALSE(any());
  set("west", "policy-default-local-cluster: \"false\"");
  EXPECT_FALSE(any()) << "another cluster's agents";
}

TEST(DefaultLocalCluster, IsAsConfiguredWhateverTheAgentsDo) {
  PolicySettings settings;
  settings.scope = SelectorScope::kOwn;
  PolicyHub hub(settings);
  hub.hub.set_text("east/agents.yaml", "east", agents("policy-default-local-cluster: \"false\""));
  hub.policy(cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress:\n  - fromEndpoints: [{}]"));
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/cart", kTcp, 80)));
}

}  // namespace
}  // namespace isthmus
