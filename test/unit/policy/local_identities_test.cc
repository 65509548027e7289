// Pods of our cluster that have no CiliumEndpoint, as in a cluster without Cilium.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/policy/explain.h"
#include "dataplane/api/identity.h"
#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kDenyAll = "  podSelector: {}\n  policyTypes: [Ingress, Egress]\n";
constexpr auto kLabels = "io.cilium.k8s.namespace.labels.team";

// East has only what every Kubernetes cluster has.
class WithoutCilium : public testing::Test {
 protected:
  WithoutCilium() {
    std::string text;
    for (const Pod& each : pods()) {
      text += each.cluster == "east" ? pod_text(each) : "";
    }
    hub.file("pods.yaml", text);
    team("a");
  }
  static std::string pod_text(const Pod& p, const std::string& app = "") {
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + p.name + ", namespace: " + p.ns +
           ", labels: {app: " + (app.empty() ? p.labels.at("app") : app) +
           "}}\nspec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}\nstatus: {podIP: " + p.address +
           "}\n---\n";
  }
  void team(const std::string& name) {
    hub.file("namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: " + name + "}}");
  }
  [[nodiscard]] Identity at(const std::string& role) const {
    const auto found = hub.compiler->find_endpoint(IpAddress::parse(pod(role).address).value());
    return found ? found->identity : identity::kUnknown;
  }
  [[nodiscard]] bool passes(const std::string& from, const std::string& to, std::uint16_t port = 80) const {
    const Identity receiver = hub.tables.receives_as(pod(to).address, at(to));
    return allowed(hub.tables.decide(true, at(from), receiver, kTcp, port)) &&
           allowed(hub.tables.decide(false, receiver, at(from), kTcp, port));
  }
  PolicyHub hub;
};

TEST_F(WithoutCilium, ANetworkPolicyBindsThemByTheirLabels) {
  hub.policy(knp(kDenyAll));
  EXPECT_TRUE(identity::is_local(at("east/cart")));
  EXPECT_FALSE(passes("west/web", "east/cart"));
  EXPECT_FALSE(passes("east/cart", "west/web"));
  EXPECT_TRUE(passes("west/web", "east/ledger")) << "of another namespace";
  hub.policy(knp(
      "  podSelector: {matchLabels: {app: cart}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]"));
  EXPECT_TRUE(passes("east/web", "east/cart")) << "they are selected as peers";
  EXPECT_FALSE(passes("east/ledger", "east/cart"));
}

TEST_F(WithoutCilium, TheirPolicyIsPublishedEvenIfItIsEmptySoThatNoneMeansUnknown) {
  hub.compile();
  ASSERT_TRUE(hub.tables.subjects.contains(at("east/cart")));
  EXPECT_FALSE(hub.tables.subjects.at(at("east/cart")).ingress.enforced);
  EXPECT_EQ(hub.compiler->policy().subject_count(), 0U) << "none is selected by a policy";
  const Identity cart = at("east/cart");
  hub.file("pods.yaml", pod_text(pod("east/web")));
  hub.compile();
  EXPECT_FALSE(hub.tables.subjects.contains(cart));
  EXPECT_TRUE(hub.tables.subjects.contains(at("east/web")));
}

TEST_F(WithoutCilium, PodsOfEqualLabelsShareAnIdentityThatIsNeverSent) {
  hub.compile();
  const Identity before = at("east/cart");
  EXPECT_NE(before, at("east/web"));
  hub.file("more.yaml", pod_text({"east", "shop", "cart-2", "10.1.0.9", 0, {}}, "cart"));
  hub.compile();
  EXPECT_EQ(hub.compiler->find_endpoint(IpAddress::parse("10.1.0.9").value())->identity, before);
  hub.file("more.yaml", pod_text(pod("east/cart"), "cart"));
  hub.compile();
  EXPECT_EQ(at("east/cart"), before);
  EXPECT_GT(before.value(), 0xffffffu);
}

TEST_F(WithoutCilium, APolicyFollowsTheLabelsOfPodAndNamespace) {
  hub.policy(ccnp(std::string("  endpointSelector: {matchLabels: {") + kLabels +
                  ": b}}\n  ingress: [{}]\n"
                  "  ingressDeny: [{fromEntities: [all]}]"));
  EXPECT_TRUE(passes("west/web", "east/cart"));
  team("b");
  hub.compile();
  EXPECT_FALSE(passes("west/web", "east/cart"));
  EXPECT_TRUE(passes("west/web", "east/ledger"));
  team("a");
  hub.compile();
  EXPECT_TRUE(passes("west/web", "east/cart"));
}

TEST_F(WithoutCilium, ACiliumEndpointTakesOver) {
  hub.policy(knp(kDenyAll));
  hub.file("cilium.yaml", PolicyHub::identity_text(pod("east/cart")) + PolicyHub::pod_text(pod("east/cart")));
  hub.compile();
  EXPECT_EQ(at("east/cart").value(), pod("east/cart").identity);
  EXPECT_FALSE(passes("west/web", "east/cart"));
  hub.file("cilium.yaml", "");
  hub.compile();
  EXPECT_TRUE(identity::is_local(at("east/cart")));
  EXPECT_FALSE(passes("west/web", "east/cart"));
}

TEST_F(WithoutCilium, ANamedPortIsTheirs) {
  hub.policy(knp("  podSelector: {matchLabels: {app: cart}}\n  ingress: [{ports: [{port: http}]}]"));
  EXPECT_TRUE(passes("west/web", "east/cart", 8080));
  EXPECT_FALSE(passes("west/web", "east/cart", 80));
}

// What receives as another identity and has no policy is denied as unknown.
TEST(WithoutCiliumIdentity, APodIsDecidedTheSameWhetherARuleNamesItsPortOrNot) {
  PolicyHub hub;
  Pod odd{"east", "shop", "odd", "10.1.0.7", 0x10177, {{"app", "odd"}}};
  hub.file("odd.yaml", PolicyHub::pod_text(odd));
  hub.policy(knp("  podSelector: {matchLabels: {app: web}}\n  ingress: [{ports: [{port: 80}]}]"));
  EXPECT_FALSE(hub.tables.subjects.contains(Identity{odd.identity})) << "by default: open";
  hub.policy(knp("  podSelector: {matchLabels: {app: web}}\n  ingress: [{ports: [{port: http}]}]"));
  const Identity receiver = hub.tables.receives_as(odd.address, Identity{odd.identity});
  ASSERT_TRUE(identity::is_receiver(receiver));
  ASSERT_TRUE(hub.tables.subjects.contains(receiver));
  EXPECT_FALSE(hub.tables.subjects.at(receiver).ingress.enforced);
  hub.file("identity.yaml", PolicyHub::identity_text(odd));
  hub.policy(knp("  podSelector: {matchLabels: {app: odd}}\n  ingress: [{ports: [{port: http}]}]"));
  EXPECT_TRUE(hub.tables.subjects.at(receiver).ingress.enforced) << "once its labels are known";
  hub.file("identity.yaml", "");
  hub.compile();
  EXPECT_FALSE(hub.tables.subjects.at(receiver).ingress.enforced);
  hub.policy("");
  EXPECT_FALSE(hub.tables.subjects.contains(receiver));
}

TEST_F(WithoutCilium, WhatHasNoLabelsIsDeniedAndListedWhereAPolicyMightSelectIt) {
  constexpr auto kListed = "the labels of 1 endpoints of cluster east are not known";
  hub.file("odd.yaml",
           "apiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {name: odd, namespace: shop}\n"
           "status: {networking: {addressing: [{ipv4: 10.1.0.7}]}}");
  hub.compile();
  EXPECT_FALSE(hub.tables.defaults.deny_unknown);
  EXPECT_THAT(hub.problems, Not(Contains(Field(&Problem::what, HasSubstr(kListed)))));
  hub.policy(knp("  podSelector: {matchLabels: {app: cart}}\n"));
  EXPECT_TRUE(hub.tables.defaults.deny_unknown);
  EXPECT_FALSE(hub.tables.defaults.deny_ingress) << "pods with labels that no policy selects stay open";
  EXPECT_THAT(hub.problems, Contains(Field(&Problem::what, HasSubstr(kListed))));
  const PolicySet& policy = hub.compiler->policy();
  const auto odd = party_of(policy.identity_at(IpAddress::parse("10.1.0.7").value(), true), "odd", policy);
  const auto web = party_of(Identity{pod("west/web").identity}, "web", policy);
  const PolicyQuestion question{kTcp, 80};
  const auto explained = explain(policy, hub.model, "east", false, odd, &web, &question);
  EXPECT_EQ(explained.outcome, PolicyOutcome::kDenied);
  EXPECT_THAT(explained.reason, HasSubstr("labels are not known"));
  PolicyHub always(PolicySettings{PolicyEnforcement::kAlways, false});
  always.compile();
  EXPECT_TRUE(always.tables.defaults.deny_unknown);
}

}  // namespace
}  // namespace isthmus
