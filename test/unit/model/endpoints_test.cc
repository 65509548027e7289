// Addresses and identities: what enters the endpoint table, and that only changes are published.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/api/identity.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint32_t kWestOwn = (2U << 16) + 5;
constexpr std::uint32_t kUnlabelledWest = identity::unlabelled(ClusterId{2}).value();

TEST(Endpoints, CarryTheIdentityOfTheirCiliumEndpoint) {
  struct Row {
    const char* what;
    const char* cluster;
    const char* address;
    std::optional<std::uint32_t> identity;
    std::uint32_t expected;
  };
  for (const Row& row :
       {Row{"own cluster's", "west", "10.2.0.1", kWestOwn, kWestOwn},
        Row{"no CiliumEndpoint: unlabelled endpoint of west", "west", "10.2.0.1", std::nullopt, kUnlabelledWest},
        Row{"unknown identity: the same", "west", "10.2.0.1", 0, kUnlabelledWest},
        Row{"reserved", "west", "10.2.0.1", 4, 4},
        Row{"host of another cluster: remote node", "west", "10.2.0.1", 1, 6},
        Row{"host of ours", "east", "10.1.0.1", 1, 1},
        Row{"another cluster's: world", "west", "10.2.0.1", (3U << 16) + 5, 2},
        Row{"node-local scope: world", "west", "10.2.0.1", 16777217, 2}}) {
    Fleet3 f;
    f.pod(row.cluster, "a", {row.address});
    if (row.identity) {
      f.cilium_endpoint(row.cluster, "a", row.address, *row.identity);
    }
    f.compile();
    EXPECT_EQ(f.endpoints[ip(row.address)].identity, Identity{row.expected}) << row.what;
  }
}

TEST(Endpoints, DecodeIdentitiesByTheProfilesMaxConnectedClusters) {
  Fleet3 f;
  f.profile({"east", "west", "north"}, "fleet", 511);
  f.cilium_endpoint("west", "a", "10.2.0.1", (2U << 15) + 5);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{(2U << 15) + 5});
}

TEST(Endpoints, IncludeANodesInternalHealthAndIngressAddresses) {
  Fleet3 f;
  NodeObject node{{ip("192.0.2.50")}, {}};
  node.inner = {ip("10.2.0.3")};
  node.health = {ip("10.2.0.4"), ip("fd00:2::4")};
  node.ingress = {ip("10.2.0.8")};
  f.put(ObjectKind::kNode, "west", "", "w1", node);
  f.address("west", "10.2.0.4", 4);
  f.address("west", "10.2.0.3", 6);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.3")].identity, identity::kRemoteNode);
  EXPECT_EQ(f.endpoints[ip("10.2.0.4")].identity, identity::kHealth);
  EXPECT_EQ(f.endpoints[ip("fd00:2::4")].identity, identity::kHealth);
  EXPECT_EQ(f.endpoints[ip("10.2.0.8")].identity, identity::kIngress);
  EXPECT_THAT(f.problem_texts(), IsEmpty()) << "the ipcache agrees";
  for (const PeerView& peer : f.compiler->peers()) {
    EXPECT_NE(peer.underlay, ip("10.2.0.3")) << "it is not an underlay address";
  }
  node.inner = {};
  node.health = {ip("10.2.0.4")};
  f.put(ObjectKind::kNode, "west", "", "w1", node);
  f.drop(ObjectKind::kAddress, "west", "", "10.2.0.3");
  EXPECT_THAT(f.compile().remove, testing::UnorderedElementsAre(ip("10.2.0.3"), ip("fd00:2::4")));
  f.address("west", "10.2.0.8", kWestOwn);
  f.compile();
  EXPECT_EQ(f.problem_texts().size(), 1U) << "the identities conflict";
}

TEST(Endpoints, IncludeNodes) {
  Fleet3 f;
  f.node("west", "w1", "192.0.2.50");
  f.node("east", "e1", "192.0.1.50");
  f.node("west", "w2", "198.51.100.9");
  f.compile();
  EXPECT_EQ(f.endpoints[ip("192.0.2.50")].identity, identity::kRemoteNode);
  EXPECT_EQ(f.endpoints[ip("192.0.2.50")].cluster, ClusterId{2});
  EXPECT_EQ(f.endpoints[ip("192.0.1.50")].identity, identity::kHost);
  EXPECT_EQ(f.endpoints.count(ip("198.51.100.9")), 1U) << "a node need not lie in a prefix of its cluster";
}

TEST(Endpoints, LeaveOutHostNetworkPods) {
  Fleet3 f;
  f.node("west", "w1", "192.0.2.50");
  f.pod("west", "agent", {"192.0.2.50"}, true);
  f.compile();
  EXPECT_EQ(f.endpoints.size(), 1U);
  EXPECT_EQ(f.endpoints[ip("192.0.2.50")].identity, identity::kRemoteNode);
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Endpoints, ArePublishedAsDeltas) {
  Fleet3 f;
  f.pod("west", "a", {"10.2.0.1", "fd00:2::1"});
  f.pod("west", "b", {"10.2.0.2"});
  EXPECT_EQ(f.compile().upsert.size(), 3U);
  EXPECT_THAT(f.compile().upsert, IsEmpty());
  f.pod("west", "a", {"10.2.0.1"});
  CompileResult result = f.compile();
  EXPECT_THAT(result.remove, ElementsAre(ip("fd00:2::1")));
  EXPECT_THAT(result.upsert, IsEmpty());
  f.cilium_endpoint("west", "b", "10.2.0.2", kWestOwn);
  result = f.compile();
  ASSERT_EQ(result.upsert.size(), 1U);
  EXPECT_EQ(result.upsert[0], (EndpointEntry{Realm{}, ip("10.2.0.2"), ClusterId{2}, Identity{kWestOwn}, kNoPeer}));
  f.drop(ObjectKind::kPod, "west", "shop", "b");
  EXPECT_THAT(f.compile().remove, IsEmpty()) << "its CiliumEndpoint still has the address";
  f.drop(ObjectKind::kCiliumEndpoint, "west", "shop", "b");
  EXPECT_THAT(f.compile().remove, ElementsAre(ip("10.2.0.2")));
  EXPECT_EQ(f.compiler->endpoint_count(), 1U);
}

TEST(Endpoints, AnAddressReassignedInOneBatchIsNotRemoved) {
  Fleet3 f;
  f.pod("west", "a", {"10.2.0.1"});
  f.compile();
  f.drop(ObjectKind::kPod, "west", "shop", "a");
  f.pod("west", "b", {"10.2.0.1"});
  const CompileResult result = f.compile();
  EXPECT_THAT(result.remove, IsEmpty());
  EXPECT_THAT(result.upsert, IsEmpty()) << "nothing visible to the engine changed";
}

TEST(Endpoints, TheNewerOfTwoPodsWithOneAddressWins) {
  Fleet3 f;
  f.cilium_endpoint("west", "old", "10.2.0.1", kWestOwn);
  f.compile();
  f.cilium_endpoint("west", "new", "10.2.0.1", kWestOwn + 1);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 1});
  EXPECT_THAT(
      f.problem_texts(),
      ElementsAre("west/new.yaml:1: pod shop/new of cluster west and pod shop/old of cluster west "
                  "(west/old.yaml:1) have the same address 10.2.0.1; the first is newer and is used (remove the stale "
                  "one)"));
  f.cilium_endpoint("west", "old", "10.2.0.1", kWestOwn + 2);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 1}) << "an update does not make a pod newer";
  f.drop(ObjectKind::kCiliumEndpoint, "west", "shop", "new");
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 2});
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Endpoints, OutsideTheirClusterAreLeftOut) {
  Fleet3 f;
  f.pod("west", "thief", {"10.1.0.1"});
  f.pod("west", "stray", {"172.20.0.1"});
  f.node("west", "n", "192.0.1.77");
  f.compile();
  EXPECT_TRUE(f.endpoints.empty());
  EXPECT_THAT(
      f.problem_texts(),
      testing::UnorderedElementsAre(
          "west/thief.yaml:1: pod shop/thief of cluster west has address 10.1.0.1, which lies in cluster east; it "
          "is left out (correct the address, or add its prefix to the Cluster object or to admission.pods)",
          "west/stray.yaml:1: pod shop/stray of cluster west has address 172.20.0.1, which lies outside its "
          "cluster's prefixes; it is left out (correct the address, or add its prefix to the Cluster object or to "
          "admission.pods)",
          "west/n.yaml:1: node n of cluster west has address 192.0.1.77, which lies in cluster east; it is left "
          "out (correct the address, or add its prefix to the Cluster object or to admission.pods)"));
  f.cluster("west", 2, {"10.2.0.0/16", "172.20.0.0/16"});
  f.compile();
  EXPECT_EQ(f.endpoints.count(ip("172.20.0.1")), 1U) << "the prefix was added";
}

TEST(Endpoints, ProblemsOfOneKindAreListedUpToALimit) {
  Fleet3 f;
  for (int i = 0; i < 1000; ++i) {
    f.pod("west", "p" + std::to_string(i), {"172.20.0." + std::to_string(i % 250)});
  }
  f.compile();
  EXPECT_EQ(f.problems.size(), 101U);
  EXPECT_EQ(f.problems.back().text(),
            "900 more pods or nodes with problems (fix the problems listed first; they may share a cause)");
}

TEST(Endpoints, WithAnotherClustersIdentityAreReported) {
  Fleet3 f;
  f.cilium_endpoint("west", "a", "10.2.0.1", (3U << 16) + 5);
  f.compile();
  EXPECT_THAT(
      f.problem_texts(),
      ElementsAre("west/a.yaml:1: pod shop/a of cluster west has identity 196613, which is outside its cluster's range "
                  "(131072..196607); it is treated as world (make the cluster id and maxConnectedClusters agree with "
                  "that cluster's Cilium)"));
}

TEST(Endpoints, OfAnIdentityWithConflictingLabelsAreLeftOut) {
  Fleet3 f;
  f.cilium_endpoint("west", "a", "10.2.0.1", kWestOwn);
  const IdentityObject one{Identity{kWestOwn}, {{"k8s:app", "cart"}}}, two{Identity{kWestOwn}, {{"k8s:app", "bank"}}};
  f.put(ObjectKind::kIdentity, "west", "", "131077", one);
  f.compile();
  EXPECT_EQ(f.endpoints.size(), 1U);
  f.put(ObjectKind::kIdentity, "west", "", "0131077", two);
  f.compile();
  EXPECT_TRUE(f.endpoints.empty());
  EXPECT_THAT(f.problem_texts(),
              ElementsAre("west/0131077.yaml:1: identity 131077 has two different label sets (the other at "
                          "west/131077.yaml:1): endpoints with this identity are left out (give one of the two "
                          "label sets another identity number)"));
  f.drop(ObjectKind::kIdentity, "west", "", "0131077");
  f.compile();
  EXPECT_EQ(f.endpoints.size(), 1U);
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Endpoints, FromAnIpcacheNeedNoPod) {
  Fleet3 f;
  f.address("west", "10.2.0.1", kWestOwn, "cart-0");
  f.address("west", "fd00:2::1", kWestOwn);
  f.address("west", "10.2.64.0/18", 2);
  f.address("west", "10.2.0.2", 1);
  f.address("west", "10.2.0.3", (3U << 16) + 5);
  f.address("west", "10.1.0.1", kWestOwn);
  f.compile();
  EXPECT_EQ(f.endpoints.size(), 4U) << "a prefix is not an endpoint, and another cluster's address is left out";
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn});
  EXPECT_EQ(f.endpoints[ip("fd00:2::1")].identity, Identity{kWestOwn});
  EXPECT_EQ(f.endpoints[ip("10.2.0.2")].identity, identity::kRemoteNode);
  EXPECT_EQ(f.endpoints[ip("10.2.0.3")].identity, identity::kWorld);
  EXPECT_EQ(f.problem_texts().size(), 2U);
  const auto view = f.compiler->find_endpoint(ip("10.2.0.1"));
  ASSERT_TRUE(view);
  EXPECT_EQ(view->cluster + " " + view->ns + "/" + view->name + " on " + view->on_node,
            "west shop/cart-0 on 192.0.2.50");
  f.address("west", "10.2.0.3", kWestOwn);
  f.drop(ObjectKind::kAddress, "west", "", "10.1.0.1");
  f.drop(ObjectKind::kAddress, "west", "", "10.2.0.1");
  const CompileResult result = f.compile();
  EXPECT_THAT(result.remove, ElementsAre(ip("10.2.0.1")));
  ASSERT_EQ(result.upsert.size(), 1U);
  EXPECT_EQ(result.upsert[0].identity, Identity{kWestOwn});
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Endpoints, TheNewerOfAnIpcacheEntryAndAPodWins) {
  Fleet3 f;
  f.address("west", "10.2.0.1", kWestOwn);
  f.compile();
  f.cilium_endpoint("west", "new", "10.2.0.1", kWestOwn + 1);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 1});
  EXPECT_THAT(
      f.problem_texts(),
      ElementsAre("west/new.yaml:1: pod shop/new of cluster west and address 10.2.0.1 of cluster west "
                  "(west/10.2.0.1.yaml:1) have the same address 10.2.0.1; the first is newer and is used (remove the "
                  "stale one)"));
  f.address("west", "10.2.0.1", kWestOwn + 2);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 1});
  f.drop(ObjectKind::kCiliumEndpoint, "west", "shop", "new");
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 2});
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Endpoints, WithAnIdentityTakePrecedenceOverAddressesWithoutOne) {
  Fleet3 f;
  f.address("west", "10.2.0.1", 0);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kUnlabelledWest});
  f.cilium_endpoint("west", "cart", "10.2.0.1", kWestOwn);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn});
  EXPECT_THAT(f.problem_texts(), IsEmpty()) << "an entry without an identity does not conflict";
  f.drop(ObjectKind::kAddress, "west", "", "10.2.0.1");
  f.address("west", "10.2.0.1", 0);
  EXPECT_THAT(f.compile().upsert, IsEmpty()) << "their order does not matter";
  f.cilium_endpoint("west", "pay", "10.2.0.1", kWestOwn + 1);
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn + 1});
  EXPECT_THAT(f.problem_texts(), ElementsAre(HasSubstr("pod shop/pay of cluster west and pod shop/cart")))
      << "two identities conflict";
  f.drop(ObjectKind::kCiliumEndpoint, "west", "shop", "pay");
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kWestOwn});
  EXPECT_THAT(f.problem_texts(), IsEmpty());
  f.drop(ObjectKind::kCiliumEndpoint, "west", "shop", "cart");
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].identity, Identity{kUnlabelledWest});
}

TEST(Endpoints, FromAnIpcacheFollowTheirClustersPrefixesAndTheirIdentity) {
  Fleet3 f;
  f.address("west", "172.20.0.1", kWestOwn);
  f.address("west", "10.2.0.1", kWestOwn);
  f.compile();
  EXPECT_EQ(f.endpoints.size(), 1U);
  f.cluster("west", 2, {"10.2.0.0/16", "172.20.0.0/16"});
  EXPECT_EQ(f.compile().upsert.size(), 1U) << "only the address in the new prefix";
  f.cluster("west", 2, {"172.20.0.0/16"});
  EXPECT_THAT(f.compile().remove, ElementsAre(ip("10.2.0.1")));
  f.put(ObjectKind::kIdentity, "west", "", "131077", IdentityObject{Identity{kWestOwn}, {{"k8s:app", "cart"}}});
  f.put(ObjectKind::kIdentity, "west", "", "0131077", IdentityObject{Identity{kWestOwn}, {{"k8s:app", "bank"}}});
  EXPECT_THAT(f.compile().remove, ElementsAre(ip("172.20.0.1"))) << "an identity with conflicting labels";
  f.drop(ObjectKind::kCluster, "", "", "west");
  f.compile();
  EXPECT_TRUE(f.endpoints.empty());
}

TEST(Endpoints, FollowTheirCluster) {
  Fleet3 f;
  f.pod("west", "a", {"10.2.0.1"});
  f.compile();
  f.cluster("west", 7, {"10.2.0.0/16"});
  f.compile();
  EXPECT_EQ(f.endpoints[ip("10.2.0.1")].cluster, ClusterId{7});
  f.drop(ObjectKind::kCluster, "", "", "west");
  f.compile();
  EXPECT_TRUE(f.endpoints.empty());
}

TEST(Endpoints, AreListedWithTheirNames) {
  Fleet3 f;
  f.pod("west", "a", {"10.2.0.1"});
  f.compile();
  std::vector<EndpointView> seen;
  f.compiler->visit_endpoints([&](const EndpointView& view) {
    seen.push_back(view);
    return true;
  });
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].cluster + " " + seen[0].ns + "/" + seen[0].name + " on " + seen[0].on_node,
            "west shop/a on node-1");
}

}  // namespace
}  // namespace isthmus
