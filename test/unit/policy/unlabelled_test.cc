// Endpoints published without labels, with only an address and a cluster: what selects them, and which rules are
// reported because they cannot be applied to them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/api/identity.h"
#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr const char* kPod = "10.2.7.7";
constexpr const char* kInWest = "k8s:io.cilium.k8s.policy.cluster: west";

class Unlabelled : public ::testing::Test {
 protected:
  explicit Unlabelled(PolicySettings settings = {}) : hub(settings) {}
  PolicyHub hub;

  void put(const std::string& address, std::uint32_t identity = 0) {
    hub.model.apply(1, {{ObjectKind::kAddress, "west", {}, address},
                        AddressObject{*Prefix::parse(address), Identity{identity}, std::nullopt, {}, {}, {}},
                        {"https://fleet", 0}});
  }
  void drop(const std::string& address) {
    hub.model.apply(1, {{ObjectKind::kAddress, "west", {}, address}, std::nullopt, {}});
  }
  void SetUp() override {
    put(kPod);
    hub.compile();
  }
  // The identity the packet path uses for an unlabelled endpoint at the address.
  [[nodiscard]] Identity identity_at(const std::string& address) const {
    return identity::unlabelled_at(hub.tables.identity_of(address), identity::unlabelled(ClusterId{2}));
  }
  [[nodiscard]] PolicyOutcome from(const std::string& address, const std::string& to = "east/cart") const {
    return hub.tables.decide(false, hub.identity_of(to), identity_at(address), kTcp, 80).outcome;
  }
  [[nodiscard]] PolicyOutcome to(const std::string& address, const std::string& from = "east/cart") const {
    return hub.tables.decide(true, hub.identity_of(from), identity_at(address), kTcp, 80).outcome;
  }
  [[nodiscard]] std::vector<std::string> problems() const {
    std::vector<std::string> out;
    for (const Problem& problem : hub.problems) {
      out.push_back(problem.text());
    }
    return out;
  }
  static std::string everyone(const std::string& peers, const std::string& way = "ingress") {
    return ccnp("  endpointSelector: {}\n  " + way + ":\n  - " + peers);
  }
};

TEST_F(Unlabelled, AreSelectedByTheirCluster) {
  for (const std::string& west :
       {std::string("matchLabels: {") + kInWest + "}",
        std::string("matchExpressions: [{key: k8s:io.cilium.k8s.policy.cluster, operator: NotIn, values: [north]}]"),
        std::string("matchExpressions: [{key: k8s:io.cilium.k8s.policy.cluster, operator: Exists}]")}) {
    hub.policy(everyone("fromEndpoints: [{" + west + "}]") + everyone("toEndpoints: [{" + west + "}]", "egress"));
    EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed) << west;
    EXPECT_THAT(problems(), IsEmpty()) << west;
  }
  hub.policy(everyone("toEndpoints: [{matchLabels: {" + std::string(kInWest) + "}}]", "egress"));
  EXPECT_EQ(to(kPod), PolicyOutcome::kAllowed);
  EXPECT_FALSE(allowed(hub.egress("east/cart", "10.2.7.8", kTcp, 80))) << "not an endpoint, so not a pod";
  hub.policy(everyone("fromEndpoints: [{matchLabels: {k8s:io.cilium.k8s.policy.cluster: north}}]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kDenied);
  EXPECT_THAT(problems(), IsEmpty()) << "the rule cannot select endpoints of west";
}

TEST_F(Unlabelled, AreSelectedByTheEntityThatIncludesEveryPod) {
  hub.policy(everyone("fromEntities: [all]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed);
  for (const char* entity : {"cluster", "world", "remote-node", "host", "unmanaged", "health"}) {
    hub.policy(everyone("fromEntities: [" + std::string(entity) + "]"));
    EXPECT_EQ(from(kPod), PolicyOutcome::kDenied) << entity;
    EXPECT_THAT(problems(), IsEmpty()) << entity;
  }
}

TEST_F(Unlabelled, AreSelectedByTheirAddress) {
  hub.policy(everyone("fromCIDR: [10.2.7.0/24]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed);
  EXPECT_EQ(from("10.2.8.7"), PolicyOutcome::kDenied);
  hub.policy(everyone("fromCIDRSet: [{cidr: 10.2.0.0/16, except: [10.2.7.0/24]}]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kDenied);
  EXPECT_EQ(from("10.2.8.7"), PolicyOutcome::kAllowed);
  hub.policy(everyone("fromCIDR: [10.0.0.0/8]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed) << "a prefix that contains the whole cluster";
  hub.policy(everyone("fromEndpoints: [{matchLabels: {" + std::string(kInWest) + "}}]") +
             ccnp("  endpointSelector: {}\n  ingressDeny:\n  - fromCIDR: [10.2.7.0/24]", "deny"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kDeniedByRule) << "selected by cluster and by address";
  EXPECT_EQ(from("10.2.8.7"), PolicyOutcome::kAllowed);
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(Unlabelled, ARuleByUnknownLabelsIsReportedAndNotApplied) {
  const std::string west = "io.cilium.k8s.policy.cluster: west";
  for (const std::string& peers :
       {"{matchLabels: {" + west + ", app: cart}}",
        "{matchLabels: {" + west + ", k8s:io.kubernetes.pod.namespace: shop}}",
        "{matchLabels: {" + west + "}, matchExpressions: [{key: app, operator: NotIn, values: [bank]}]}",
        "{matchLabels: {" + west + "}, matchExpressions: [{key: app, operator: DoesNotExist}]}",
        std::string("{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}, "
                    "{key: app, operator: Exists}]}")}) {
    hub.policy(everyone("fromEndpoints: [" + peers + "]"));
    EXPECT_EQ(from(kPod), PolicyOutcome::kDenied) << peers;
    EXPECT_THAT(problems(),
                ElementsAre(AllOf(StartsWith("east/policy.yaml:7: CiliumClusterwideNetworkPolicy rule has a "
                                             "rule for pods "),
                                  HasSubstr("without labels, of west: the rule is not applied to them"))))
        << peers;
    hub.policy(ccnp("  endpointSelector: {}\n  ingress: [{fromEntities: [all]}]\n  ingressDeny:\n  - fromEndpoints: [" +
                    peers + "]"));
    EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed) << "a deny rule is not applied either: " << peers;
    EXPECT_THAT(problems(), ElementsAre(HasSubstr("of west: the rule is not applied to them"))) << peers;
  }
}

TEST_F(Unlabelled, ANamespacedPolicyThatSelectsTheirClusterIsReported) {
  hub.policy(cnp("  endpointSelector: {}\n  ingress:\n  - fromEndpoints: [{matchLabels: {" + std::string(kInWest) +
                 "}}]\n  - fromEndpoints: [{}]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kDenied) << "the rule selects pods of its namespace only";
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("CiliumNetworkPolicy shop/rule has a rule for pods ")))
      << "the other rule selects pods of its own cluster";
  ASSERT_EQ(hub.compiler->policy().unapplied().size(), 1U);
  EXPECT_EQ(hub.compiler->policy().unapplied().begin()->second, 1U);
  hub.policy(knp("  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {}}]}]"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(Unlabelled, ARuleThatAlsoSelectsThemByClusterIsNotReported) {
  hub.policy(everyone("fromEndpoints: [{matchLabels: {app: x, " + std::string(kInWest) + "}}, {matchLabels: {" +
                      kInWest + "}}]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed);
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(Unlabelled, AreReportedWhileTheyExist) {
  put("10.2.7.8");
  hub.policy(cnp("  endpointSelector: {}\n  ingress:\n  - fromEndpoints: [{matchLabels: {app: x, " +
                 std::string(kInWest) + "}}]"));
  EXPECT_EQ(problems().size(), 1U);
  drop(kPod);
  hub.compile();
  EXPECT_EQ(problems().size(), 1U) << "one remains";
  put("10.2.7.8", 0x20101);
  hub.compile();
  EXPECT_THAT(problems(), IsEmpty()) << "its labels are known now";
  put(kPod);
  hub.compile();
  EXPECT_EQ(problems().size(), 1U);
  hub.policy("");
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(Unlabelled, FollowTheirClustersPrefixes) {
  hub.policy(everyone("fromEndpoints: [{matchLabels: {" + std::string(kInWest) + "}}]"));
  EXPECT_EQ(from(kPod), PolicyOutcome::kAllowed);
  std::string fleet = PolicyHub::fleet_text();
  fleet.replace(fleet.find("10.2.0.0/16"), 11, "10.2.0.0/20");
  hub.hub.set_text("fleet.yaml", "", fleet);
  put("10.2.15.1");
  hub.compile();
  EXPECT_EQ(from("10.2.15.1"), PolicyOutcome::kAllowed);
  EXPECT_EQ(hub.tables.identity_of("10.2.16.1"), identity::kWorld);
}

// Nobody publishes labels for north, and its hub lists only exported addresses.
TEST_F(Unlabelled, EveryAddressOfAClusterWithoutLabelsIsAPod) {
  std::string fleet = PolicyHub::fleet_text() +
                      "---\napiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: north}\nspec: {id: 3, "
                      "podCIDRs: [10.3.0.0/16]}\n";
  hub.hub.set_text("fleet.yaml", "", fleet);
  hub.policy(everyone("fromEndpoints: [{matchLabels: {k8s:io.cilium.k8s.policy.cluster: north}}]") +
             ccnp("  endpointSelector: {}\n  ingressDeny:\n  - fromCIDR: [10.3.9.0/24]", "deny"));
  const auto from_address = [&](const char* address) {
    return hub.tables.decide(false, hub.identity_of("east/cart"), hub.tables.identity_of(address), kTcp, 80).outcome;
  };
  EXPECT_TRUE(identity::is_unlabelled_prefix(hub.tables.identity_of("10.3.0.7")));
  EXPECT_EQ(from_address("10.3.0.7"), PolicyOutcome::kAllowed);
  EXPECT_EQ(from_address("10.3.9.7"), PolicyOutcome::kDeniedByRule);
  EXPECT_EQ(from_address("10.2.0.7"), PolicyOutcome::kDenied) << "west has labels: other addresses are not pods";
  EXPECT_EQ(hub.compiler->policy().identity_at(*IpAddress::parse("10.3.0.7"), false),
            hub.tables.identity_of("10.3.0.7"));
  const Pod first{"north", "shop", "first", "10.3.0.1", 0x30101, {{"app", "x"}}};
  hub.file("pods.yaml", PolicyHub::identity_text(first) + PolicyHub::pod_text(first), "north");
  hub.compile();
  EXPECT_EQ(from_address("10.3.0.7"), PolicyOutcome::kDenied)
      << "north has labels now: unlisted addresses are not pods";
  hub.file("pods.yaml", "", "north");
  hub.compile();
  EXPECT_EQ(from_address("10.3.0.7"), PolicyOutcome::kAllowed);
}

class NotEnforced : public Unlabelled {
 protected:
  NotEnforced() : Unlabelled({PolicyEnforcement::kNever, false}) {}
};

TEST_F(NotEnforced, NoRuleIsReported) {
  hub.policy(everyone("fromEndpoints: [{matchLabels: {app: x, " + std::string(kInWest) + "}}]"));
  EXPECT_THAT(problems(), IsEmpty());
}

}  // namespace
}  // namespace isthmus
