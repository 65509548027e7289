// Compiles policies from manifest text to tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::Contains;
using ::testing::HasSubstr;

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

}  // namespace
}  // namespace isthmus
