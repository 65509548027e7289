// A change updates only what it affects, and a compiler that followed random changes has the same tables as one that
// compiles only the final state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

std::string policy_of(const std::string& app, const std::string& peers) {
  return cnp("  endpointSelector: {matchLabels: {app: " + app +
                 "}}\n  ingress:\n  - fromEndpoints: [{matchLabels: {app: " + peers +
                 ", io.cilium.k8s.policy.cluster: west}}]",
             "for-" + app);
}

TEST(PolicyChanges, APolicyUpdatesOnlyItsSubjects) {
  PolicyHub hub;
  hub.file("cart.yaml", policy_of("cart", "web"));
  hub.file("web.yaml", policy_of("web", "cart"));
  hub.compile();
  hub.file("web.yaml", policy_of("web", "web"));
  const TableDelta delta = hub.compile().delta;
  ASSERT_THAT(delta.upsert_policies, SizeIs(1));
  EXPECT_EQ(delta.upsert_policies.front()->subject, Identity{pod("east/web").identity});
  EXPECT_THAT(delta.remove_policies, IsEmpty());
  EXPECT_THAT(delta.upsert_selectors, IsEmpty()) << "the peer set existed already";
  EXPECT_THAT(delta.remove_selectors, SizeIs(1)) << "the peer set no longer used";
}

TEST(PolicyChanges, APolicyOnlyMovedToOtherLinesChangesNothing) {
  PolicyHub hub;
  hub.policy(policy_of("cart", "web"));
  const RuleId rule = hub.ingress("west/web", "east/cart", kTcp, 80).rule;
  const TableDelta delta = hub.policy("# moved\n\n" + policy_of("cart", "web")).delta;
  EXPECT_TRUE(delta.empty());
  EXPECT_EQ(hub.compiler->rule_name(rule)->line, 9U);
}

TEST(PolicyChanges, AreCountedByKindAndOperation) {
  using Change = PolicyCounts::Change;
  PolicyHub hub;
  hub.file("cart.yaml", policy_of("cart", "web"));
  hub.file("all.yaml", knp("  podSelector: {}\n  policyTypes: [Egress]") +
                           cnp("  endpointSelector: {}\n  egressDeny: [{toEntities: [none]}]", "x"));
  hub.compile();
  const auto counts = [&] { return hub.compiler->policy().counts(); };
  EXPECT_EQ(counts().policies, 3u);
  const std::uint64_t revision = counts().revision;
  EXPECT_EQ(revision, 3u);
  const auto subjects = counts().subjects;
  EXPECT_EQ(subjects.both, 1u) << "cart: ingress from one policy, egress from another";
  EXPECT_GT(subjects.egress, 0u);
  EXPECT_EQ(subjects.ingress, 0u);

  hub.file("cart.yaml", policy_of("cart", "cart"));
  hub.compile();
  hub.file("all.yaml", "");
  hub.compile();
  EXPECT_EQ(counts().policies, 1u);
  EXPECT_EQ(counts().revision, revision + 3);
  const std::map<std::pair<ObjectKind, Change>, std::uint64_t> expected{
      {{ObjectKind::kCiliumPolicy, Change::kAdd}, 2},
      {{ObjectKind::kCiliumPolicy, Change::kUpdate}, 1},
      {{ObjectKind::kCiliumPolicy, Change::kDelete}, 1},
      {{ObjectKind::kNetworkPolicy, Change::kAdd}, 1},
      {{ObjectKind::kNetworkPolicy, Change::kDelete}, 1}};
  EXPECT_EQ(counts().changes, expected);
  EXPECT_EQ(counts().subjects.both, 0u);
  EXPECT_EQ(counts().subjects.ingress, 1u);
}

TEST(PolicyChanges, ALabelChangeMovesAnIdentityBetweenSelectors) {
  PolicyHub hub;
  hub.policy(policy_of("cart", "web"));
  Pod changed = pod("west/cart");
  changed.labels["app"] = "web";
  std::string text;
  for (const Pod& each : pods()) {
    if (each.cluster == "west") {
      text += PolicyHub::identity_text(each.name == "cart" ? changed : each) + PolicyHub::pod_text(each);
    }
  }
  hub.hub.set_text("west/pods.yaml", "west", text);
  const TableDelta delta = hub.compile().delta;
  EXPECT_THAT(delta.upsert_policies, IsEmpty());
  EXPECT_THAT(delta.upsert_selectors, SizeIs(1));
  EXPECT_THAT(delta.affected_subjects, ElementsAre(Identity{pod("east/cart").identity}));
  EXPECT_TRUE(allowed(hub.ingress("west/cart", "east/cart", kTcp, 80)));
}

TEST(PolicyChanges, ANewIdentityOfOurClusterBecomesASubject) {
  PolicyHub hub;
  hub.policy(policy_of("new", "web"));
  ASSERT_THAT(hub.tables.subjects, IsEmpty());
  Pod added = pod("east/cart");
  added.identity = 0x10177;
  added.labels["app"] = "new";
  hub.file("fresh.yaml", PolicyHub::identity_text(added));
  EXPECT_THAT(hub.compile().delta.upsert_policies, SizeIs(1));
  hub.file("fresh.yaml", "");
  EXPECT_THAT(hub.compile().delta.remove_policies, ElementsAre(Identity{0x10177}));
}

TEST(PolicyChanges, AnUnselectedIdentityOfAnotherClusterChangesNothing) {
  PolicyHub hub;
  hub.policy(policy_of("cart", "web"));
  Pod other = pod("west/ledger");
  other.identity = 0x20199;
  other.labels["app"] = "other";
  hub.file("other.yaml", PolicyHub::identity_text(other), "west");
  EXPECT_TRUE(hub.compile().delta.empty());
}

TEST(PolicyChanges, AChangedNamedPortUpdatesItsSubject) {
  PolicyHub hub;
  hub.policy(cnp("  endpointSelector: {}\n  ingress: [{fromEntities: [all], toPorts: [{ports: [{port: http}]}]}]"));
  Pod cart = pod("east/cart");
  hub.file("pods.yaml", "");
  std::string text;
  for (const Pod& each : pods()) {
    std::string one = each.cluster == "east" ? PolicyHub::identity_text(each) + PolicyHub::pod_text(each) : "";
    if (each.name == "cart" && !one.empty()) {
      one.replace(one.find("8080"), 4, "9090");
    }
    text += one;
  }
  hub.hub.set_text("east/pods.yaml", "east", text);
  const TableDelta delta = hub.compile().delta;
  ASSERT_THAT(delta.upsert_policies, SizeIs(1));
  EXPECT_TRUE(allowed(hub.ingress("west/web", "east/cart", kTcp, 9090)));
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/cart", kTcp, 8080)));
}

TEST(PolicyChanges, ANamedEgressPortFollowsThePeer) {
  PolicyHub hub;
  hub.policy(
      cnp("  endpointSelector: {matchLabels: {app: cart}}\n  egress: [{toEndpoints: [{matchExpressions: [{key: "
          "io.cilium.k8s.policy.cluster, operator: Exists}]}], toPorts: [{ports: [{port: http}]}]}]"));
  ASSERT_TRUE(allowed(hub.egress("east/cart", "west/web", kTcp, 8081)));
  std::string text;
  for (const Pod& each : pods()) {
    std::string one = each.cluster == "west" ? PolicyHub::identity_text(each) + PolicyHub::pod_text(each) : "";
    if (each.name == "web" && !one.empty()) {
      one.replace(one.find("8081"), 4, "8080");  // as the pods of east
    }
    text += one;
  }
  hub.file("pods.yaml", text, "west");
  TableDelta delta = hub.compile().delta;
  EXPECT_THAT(delta.upsert_policies, IsEmpty());
  EXPECT_THAT(delta.affected_subjects, ElementsAre(Identity{pod("east/cart").identity}));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "west/web", kTcp, 8080)));
  EXPECT_FALSE(allowed(hub.egress("east/cart", "west/web", kTcp, 8081)));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "west/cart", kTcp, 8081)));
  hub.file("pods.yaml", "", "west");
  hub.compile();
  EXPECT_FALSE(allowed(hub.egress("east/cart", "west/cart", kTcp, 8081)));
  hub.policy("");
  EXPECT_THAT(hub.tables.selectors, IsEmpty());
}

// The verdicts of all pairs on a few ports: must not depend on history.
std::string picture(const PolicyHub& hub, const std::vector<Pod>& extra) {
  std::vector<Identity> everyone;
  for (const Pod& each : pods()) {
    everyone.push_back(Identity{each.identity});
  }
  for (const Pod& each : extra) {
    everyone.push_back(Identity{each.identity});
  }
  std::vector<Identity> peers = everyone;
  for (const char* address : {"203.0.113.1", "203.0.113.200", "10.1.77.1", "10.2.77.1", "2001:db8::1"}) {
    peers.push_back(hub.tables.identity_of(address));
  }
  std::string text;
  for (const Identity subject : everyone) {
    for (const Identity peer : peers) {
      for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{8080}, std::uint16_t{8081}}) {
        for (const bool egress : {false, true}) {
          text += std::to_string(static_cast<int>(hub.tables.decide(egress, subject, peer, kTcp, port).outcome));
        }
      }
    }
    text += "\n";
  }
  return text;
}

TEST(PolicyChanges, VerdictsDoNotDependOnHistory) {
  const char* kApps[] = {"cart", "web", "ledger", "new"};
  const char* kPeers[] = {"fromEndpoints: [{matchLabels: {app: web}}]",
                          "fromEndpoints: [{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}, "
                          "{key: app, operator: NotIn, values: [cart]}]}]",
                          "fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25]}]",
                          "fromCIDR: [10.2.0.0/16, 203.0.113.200/32]",
                          "fromEntities: [cluster]",
                          "fromEntities: [world-ipv4]",
                          "toPorts: [{ports: [{port: http}]}]"};
  const char* kTo[] = {"toEndpoints: [{matchLabels: {app: web}}]",
                       "toEndpoints: [{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}]}]",
                       "toEntities: [cluster, world]"};
  const std::string comma = ", ";
  std::mt19937 random(20260101);
  const auto pick = [&](std::size_t below) { return random() % below; };
  PolicyHub follower;
  std::map<std::pair<std::string, std::string>, std::string> files;  // (cluster, name) → text
  for (int round = 0; round < 60; ++round) {
    for (int step = 0; step < 5; ++step) {
      const bool about_policy = pick(2) == 0;
      std::string name = (about_policy ? "p" : "i") + std::to_string(pick(6)) + ".yaml", cluster = "east", text;
      if (about_policy && pick(4) != 0) {
        text = cnp("  endpointSelector: {matchLabels: {app: " + std::string(kApps[pick(4)]) + "}}\n  " +
                       (pick(3) == 0 ? "ingressDeny" : "ingress") + ": [{" + kPeers[pick(7)] + "}]\n  " +
                       (pick(3) == 0 ? "egressDeny" : "egress") + ": [{" + (pick(4) == 0 ? "" : kTo[pick(3)] + comma) +
                       "toPorts: [{ports: [{port: http}]}]}]",
                   "p" + name.substr(1, 1));
      } else if (!about_policy) {
        cluster = pick(2) == 0 ? "east" : "west";
        Pod extra{cluster, "shop", "x", "10.9.0.1", (cluster == "east" ? 0x10200U : 0x20200U) + name[1], {}};
        extra.labels["app"] = kApps[pick(4)];
        text = pick(3) == 0 ? "" : PolicyHub::identity_text(extra);
      }
      follower.file(name, text, cluster);
      files[{cluster, name}] = text;
    }
    follower.compile();
    PolicyHub fresh;
    std::vector<Pod> extras;
    for (const auto& [key, text] : files) {
      fresh.file(key.second, text, key.first);
    }
    for (char digit = '0'; digit < '6'; ++digit) {
      for (const std::uint32_t first : {0x10200U, 0x20200U}) {
        extras.push_back({"", "", "", "", first + static_cast<std::uint32_t>(digit), {}});
      }
    }
    fresh.compile();
    ASSERT_EQ(picture(follower, extras), picture(fresh, extras)) << "round " << round;
    ASSERT_EQ(follower.tables.selectors.size(), fresh.tables.selectors.size()) << "round " << round;
    ASSERT_EQ(follower.tables.cidrs.size(), fresh.tables.cidrs.size()) << "round " << round;
    ASSERT_EQ(follower.tables.subjects.size(), fresh.tables.subjects.size()) << "round " << round;
  }
}

}  // namespace
}  // namespace isthmus
