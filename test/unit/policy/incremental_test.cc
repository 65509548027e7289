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
  const Identity before = hub.receiver_of("east/cart");
  const TableDelta delta = hub.compile().delta;
  ASSERT_THAT(delta.upsert_policies, SizeIs(1));
  EXPECT_EQ(delta.upsert_policies.front()->subject, hub.receiver_of("east/cart"));
  EXPECT_THAT(delta.remove_policies, ElementsAre(before));
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
  EXPECT_THAT(delta.affected_subjects,
              UnorderedElementsAre(Identity{pod("east/cart").identity}, hub.receiver_of("east/cart")));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "west/web", kTcp, 8080)));
  EXPECT_FALSE(allowed(hub.egress("east/cart", "west/web", kTcp, 8081)));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "west/cart", kTcp, 8081)));
  hub.file("pods.yaml", "", "west");
  hub.compile();
  EXPECT_FALSE(allowed(hub.egress("east/cart", "west/cart", kTcp, 8081)));
  hub.policy("");
  EXPECT_THAT(hub.tables.selectors, IsEmpty());
}

TEST(PolicyChanges, ANamedEgressPortWithoutPeersFollowsThePodsThatHaveIt) {
  PolicyHub hub;
  hub.policy(cnp("  endpointSelector: {matchLabels: {app: cart}}\n  egress: [{toPorts: [{ports: [{port: http}]}]}]"));
  const std::size_t sets = hub.tables.selectors.size();
  const Pod odd{"east", "shop", "odd", "10.1.0.8", 0x10178, {{"app", "odd"}}};
  std::string text = PolicyHub::identity_text(odd) + PolicyHub::pod_text(odd);
  hub.file("odd.yaml", text.replace(text.find("8080"), 4, "9090"));
  hub.compile();
  const Identity cart{pod("east/cart").identity};
  const Identity receiver = hub.tables.receives_as(odd.address, Identity{odd.identity});
  EXPECT_TRUE(allowed(hub.tables.decide(true, cart, receiver, kTcp, 9090)));
  EXPECT_FALSE(allowed(hub.tables.decide(true, cart, receiver, kTcp, 8080)));
  EXPECT_EQ(hub.tables.selectors.size(), sets + 1);
  hub.file("odd.yaml", "");
  hub.compile();
  EXPECT_EQ(hub.tables.selectors.size(), sets) << "no pod has that number any more";
}

TEST(PolicyChanges, ReceiversComeAndGoWithTheRulesThatNameTheirPorts) {
  PolicyHub hub;
  hub.policy(policy_of("cart", "web"));
  EXPECT_THAT(hub.tables.receivers, IsEmpty());
  hub.policy(knp("  podSelector: {}\n  ingress: [{ports: [{port: http}]}]"));
  EXPECT_THAT(hub.tables.receivers, SizeIs(pods().size()));
  EXPECT_EQ(hub.compiler->policy().subject_count(), 2U) << "a receiver is no subject of its own to the operator";
  const std::size_t subjects = hub.tables.subjects.size();
  hub.policy(knp("  podSelector: {}\n  ingress: [{ports: [{port: other}]}]"));
  EXPECT_THAT(hub.tables.receivers, IsEmpty());
  EXPECT_LT(hub.tables.subjects.size(), subjects);
  hub.policy("");
  EXPECT_THAT(hub.tables.subjects, IsEmpty());
  EXPECT_THAT(hub.tables.selectors, IsEmpty());
}

TEST(PolicyChanges, ANamedPortIsThatOfThePodAndNotOfItsIdentity) {
  PolicyHub hub;
  Pod second = pod("east/cart");
  second.name = "cart-2";
  second.address = "10.1.0.9";
  std::string text = PolicyHub::pod_text(second);
  text.replace(text.find("8080"), 4, "9090");
  hub.file("second.yaml", text);
  hub.policy(
      knp("  podSelector: {}\n  ingress: [{ports: [{port: http}]}]\n"
          "  egress: [{to: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: http}]}]"));
  const Identity cart{pod("east/cart").identity}, web{pod("east/web").identity};
  const auto passes = [&](const char* to, std::uint16_t port) {
    const Identity receiver = hub.tables.receives_as(to, cart);
    return std::pair(allowed(hub.tables.decide(false, receiver, web, kTcp, port)),
                     allowed(hub.tables.decide(true, web, receiver, kTcp, port)));
  };
  const std::pair both(true, true), none(false, false);
  EXPECT_EQ(passes("10.1.0.1", 8080), both);
  EXPECT_EQ(passes("10.1.0.1", 9090), none);
  EXPECT_EQ(passes("10.1.0.9", 9090), both);
  EXPECT_EQ(passes("10.1.0.9", 8080), none);
  text.replace(text.find("name: http"), 10, "name: rest");
  hub.file("second.yaml", text);
  hub.compile();
  EXPECT_EQ(passes("10.1.0.9", 9090), none) << "it has no such port any more, although its twin has";
  EXPECT_EQ(passes("10.1.0.9", 8080), none);
  EXPECT_EQ(passes("10.1.0.1", 8080), both);
}

// More pods than numbers are held back before they are used again: some get one that another pod has given back.
TEST(PolicyChanges, ManyPodsThatReceiveAsAnotherAtOnceKeepTheirVerdicts) {
  constexpr unsigned kPods = 1500;
  PolicyHub hub;
  std::vector<Pod> many;
  std::string text;
  for (unsigned i = 0; i < kPods; ++i) {
    const std::string name = "p" + std::to_string(i);
    many.push_back({"east",
                    "shop",
                    name,
                    "10.1." + std::to_string(10 + i / 200) + "." + std::to_string(1 + i % 200),
                    0x10200 + i,
                    {{"app", name}, {"part", "of"}}});
    std::string one = PolicyHub::identity_text(many.back()) + PolicyHub::pod_text(many.back());
    one.insert(one.find("{name: http, containerPort: 8080}"), "{name: web, containerPort: 9000}, ");
    text += one;
  }
  hub.file("many.yaml", text);
  hub.file("http.yaml", knp("  podSelector: {}\n  ingress: [{ports: [{port: http}]}]", "http") +
                            cnp("  endpointSelector: {matchLabels: {app: web}}\n"
                                "  egressDeny: [{toEndpoints: [{matchLabels: {part: of}}]}]",
                                "deny"));
  const Identity web{pod("east/web").identity}, other{pod("west/web").identity};
  const auto expect_all = [&](const char* when) {
    unsigned admitted = 0, denied = 0;
    for (const Pod& each : many) {
      const Identity receiver = hub.tables.receives_as(each.address, Identity{each.identity});
      EXPECT_NE(receiver, Identity{each.identity});
      admitted += allowed(hub.tables.decide(false, receiver, other, kTcp, 8080)) ? 1 : 0;
      denied += allowed(hub.tables.decide(true, web, receiver, kTcp, 8080)) ? 0 : 1;
    }
    EXPECT_EQ(admitted, kPods) << when;
    EXPECT_EQ(denied, kPods) << when;
  };
  hub.compile();
  expect_all("one name");
  hub.file("web.yaml", knp("  podSelector: {}\n  ingress: [{ports: [{port: web}]}]", "web"));
  hub.compile();
  expect_all("two names");
}

// The verdicts of all pairs on a few ports: must not depend on history.
std::string picture(const PolicyHub& hub, const std::vector<Pod>& extra) {
  std::vector<Identity> everyone;
  std::map<Identity, std::vector<Identity>> received;  // as what the pods of an identity receive
  for (const Pod& each : pods()) {
    everyone.push_back(Identity{each.identity});
    received[everyone.back()].push_back(hub.tables.receives_as(each.address, everyone.back()));
  }
  for (const Pod& each : extra) {
    everyone.push_back(Identity{each.identity});
    for (const char* address : {"10.1.9.1", "10.1.9.2", "10.2.9.1", "10.2.9.2"}) {
      received[everyone.back()].push_back(hub.tables.receives_as(address, everyone.back()));
    }
  }
  std::vector<Identity> peers = everyone;
  for (const char* address : {"203.0.113.1", "203.0.113.200", "10.1.77.1", "10.2.77.1", "2001:db8::1"}) {
    peers.push_back(hub.tables.identity_of(address));
  }
  std::string text;
  const auto add = [&](bool egress, Identity subject, Identity peer) {
    for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{8080}, std::uint16_t{8081}}) {
      text += std::to_string(static_cast<int>(hub.tables.decide(egress, subject, peer, kTcp, port).outcome));
    }
  };
  for (const Identity subject : everyone) {
    for (const Identity peer : peers) {
      for (const Identity receiver : received[subject]) {
        add(false, receiver, peer);
      }
      for (const Identity receiver : received.contains(peer) ? received.at(peer) : std::vector{peer}) {
        add(true, subject, receiver);
      }
    }
    text += "\n";
  }
  return text;
}

// One of several pods of an identity, with a named port of its own.
std::string twin_text(Pod pod, const char* http) {
  pod.name += "-" + pod.address.substr(pod.address.size() - 1);
  std::string text = PolicyHub::pod_text(pod);
  return text.replace(text.find(pod.cluster == "east" ? "8080" : "8081"), 4, http);
}

// West says that the port http of a pod of ours is 22: by an entry of its ip cache, and by a pod of its own.
TEST(PolicyChanges, AMemberDoesNotNameThePortsOfAnothersPods) {
  PolicyHub hub;
  Pod quiet = pod("east/web");
  quiet.name = "quiet";
  quiet.address = "10.1.0.99";
  std::string text = PolicyHub::pod_text(quiet);
  hub.file("quiet.yaml", text.replace(text.find("name: http, "), 12, ""));  // its port has no name
  hub.policy(knp("  podSelector: {matchLabels: {app: web}}\n  ingress: [{ports: [{port: http}]}]"));
  const auto open = [&](const std::string& address, std::uint16_t port) {
    const Identity as = hub.tables.receives_as(address, Identity{quiet.identity});
    return hub.tables.decide(false, as, Identity{pod("west/cart").identity}, kTcp, port).outcome ==
           PolicyOutcome::kAllowed;
  };
  ASSERT_TRUE(open(pod("east/web").address, 8080));
  ASSERT_FALSE(open(quiet.address, 22));
  AddressObject entry{*Prefix::parse("10.1.0.99/32"), Identity{quiet.identity}, {}, "", "", {}};
  entry.named_ports = {ServicePort{"http", IpProtocol::kTcp, L4Port{22}}};
  hub.model.apply(0, {{ObjectKind::kAddress, "west", {}, "10.1.0.99"}, entry, {}});
  Pod evil = pod("east/web");
  evil.cluster = "a";  // first of those at its place, were it one
  evil.name = "evil";
  text = PolicyHub::pod_text(evil);
  hub.file("evil.yaml", text.replace(text.find("8081"), 4, "22"), "a");
  hub.compile();
  EXPECT_FALSE(open(quiet.address, 22));
  EXPECT_FALSE(open(pod("east/web").address, 22));
  EXPECT_TRUE(open(pod("east/web").address, 8080));
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
        extra.name += name.substr(1, 1);
        for (std::size_t count = pick(3); count != 0; --count) {
          extra.address = (cluster == "east" ? "10.1.9." : "10.2.9.") + std::to_string(count);
          text += twin_text(extra, pick(2) == 0 ? "8080" : "8081");
        }
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
      extras.push_back({"", "", "", "", 0x10200U + static_cast<std::uint32_t>(digit), {}});
      extras.push_back({"", "", "", "", 0x20200U + static_cast<std::uint32_t>(digit), {}});
    }
    fresh.compile();
    ASSERT_EQ(picture(follower, extras), picture(fresh, extras)) << "round " << round;
    ASSERT_EQ(follower.tables.selectors.size(), fresh.tables.selectors.size()) << "round " << round;
    ASSERT_EQ(follower.tables.cidrs.size(), fresh.tables.cidrs.size()) << "round " << round;
    ASSERT_EQ(follower.tables.subjects.size(), fresh.tables.subjects.size()) << "round " << round;
    ASSERT_EQ(follower.tables.receivers.size(), fresh.tables.receivers.size()) << "round " << round;
  }
}

}  // namespace
}  // namespace isthmus
