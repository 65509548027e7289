// Clusters, gateways, prefixes and links: what is published to the engine, and which problems are reported.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(FleetTables, ContainAllClustersWithTheirLinksPrefixesAndGateways) {
  Fleet3 f;
  f.profile({"east", "west"});
  f.compile();
  ASSERT_EQ(f.clusters.size(), 3U);
  const ClusterEntry &east = f.clusters[0], &west = f.clusters[1], &north = f.clusters[2];
  EXPECT_TRUE(east.local && east.linked);
  EXPECT_THAT(east.gateways, ElementsAre(f.peer("192.0.1.2"))) << "our own cluster's other gateway, not this one";
  EXPECT_TRUE(!west.local && west.linked);
  EXPECT_THAT(west.prefixes,
              testing::UnorderedElementsAre(net("10.2.0.0/16"), net("fd00:2::/48"), net("192.0.2.0/24")));
  EXPECT_FALSE(north.linked);
  EXPECT_THAT(north.gateways, ElementsAre(f.peer("192.0.3.1"))) << "known, though not linked";
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(FleetTables, LinksArePairwiseOverAllProfiles) {
  Fleet3 f;
  f.profile({"east", "west"});
  f.profile({"west", "north"}, "other");
  f.compile();
  EXPECT_FALSE(f.cluster_entry(3)->linked);
  f.profile({"north", "east"}, "third");
  f.compile();
  EXPECT_TRUE(f.cluster_entry(3)->linked);
}

TEST(FleetTables, ChangeByTheClusterWhoseObjectGetsOtherPrefixes) {
  Fleet3 f;
  f.compile();
  f.put(ObjectKind::kCluster, "", "", "west",
        ClusterObject{ClusterId{2}, {net("10.2.0.0/16"), net("10.9.0.0/24")}, {}});
  f.compile();  // from here on the object differs in its prefixes only, not in where it is from
  f.put(ObjectKind::kCluster, "", "", "west",
        ClusterObject{ClusterId{2}, {net("10.2.0.0/16"), net("10.9.1.0/24")}, {}});
  const CompileResult result = f.compile();
  EXPECT_FALSE(result.delta.clusters) << "the whole list";
  EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::UnorderedElementsAre(net("10.2.0.0/16"), net("10.9.1.0/24")));
  f.put(ObjectKind::kCluster, "", "", "west", ClusterObject{ClusterId{3}, {net("10.2.0.0/16")}, {}});
  EXPECT_TRUE(f.compile().delta.clusters) << "another id, which is north's";
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("have the same id 3")));
}

// The engine's routes to the pods of a cluster without tunnels are the kernel's.
TEST(FleetTables, RoutesAreAskedForAnewWhereTheEncapsulationOfAClusterChanges) {
  Fleet3 f;
  f.node("west", "w1", "192.0.2.50", "10.2.5.0/24");
  f.compile();
  for (const EncapsulationKind kind : {EncapsulationKind::kNone, EncapsulationKind::kVxlan}) {
    f.put(ObjectKind::kCluster, "", "", "west",
          ClusterObject{ClusterId{2}, {net("10.2.0.0/16")}, {net("192.0.2.0/24")}, kind});
    EXPECT_TRUE(f.compile().local_routes_changed);
  }
}

TEST(FleetTables, ContainNodesOfOtherClustersAsPeers) {
  Fleet3 f;
  f.node("west", "w1", "192.0.2.50", "10.2.9.0/24");
  f.node("west", "w-gateway", "192.0.2.1");
  f.node("east", "e1", "192.0.1.50");
  f.compile();
  const PeerId node = f.peer("192.0.2.50");
  ASSERT_NE(node, kNoPeer);
  EXPECT_FALSE(f.peers[node].gateway);
  EXPECT_EQ(f.peers[node].cluster, ClusterId{2});
  EXPECT_TRUE(f.peers[f.peer("192.0.2.1")].gateway) << "a node that is a gateway is one peer, the gateway";
  EXPECT_EQ(f.peer("192.0.1.50"), kNoPeer);
  EXPECT_EQ(f.peer("192.0.1.1"), kNoPeer) << "this gateway is no peer of itself";
  EXPECT_EQ(f.peers.size(), 4U);
  EXPECT_THAT(f.cluster_entry(2)->gateways, ElementsAre(f.peer("192.0.2.1")));
  EXPECT_EQ(f.compiler->peer_name(node), "w1");
}

TEST(FleetTables, IncludePodPrefixesOfNodesOutsideTheClustersOwnPrefixes) {
  Fleet3 f;
  f.node("west", "w1", "192.0.2.50", "172.20.5.0/24");
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("172.20.5.0/24")));
  f.drop(ObjectKind::kNode, "west", "", "w1");
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::Not(Contains(net("172.20.5.0/24"))));
  EXPECT_EQ(f.peer("192.0.2.50"), kNoPeer);
}

TEST(FleetTables, MergeNestedPrefixesOfOneCluster) {
  Fleet3 f;
  f.cluster("west", 2, {"10.2.4.0/24", "10.2.0.0/16", "10.2.5.0/24"});
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, ElementsAre(net("10.2.0.0/16")));
}

TEST(FleetTables, KeepPeerIdsAndDoNotReuseThemAtOnce) {
  Fleet3 f;
  f.compile();
  const PeerId west = f.peer("192.0.2.1"), north = f.peer("192.0.3.1");
  f.gateway("west-1", "west", "192.0.2.99");
  const CompileResult result = f.compile();
  EXPECT_THAT(result.delta.remove_peers, ElementsAre(west));
  EXPECT_NE(f.peer("192.0.2.99"), west);
  EXPECT_EQ(f.peer("192.0.3.1"), north);
  EXPECT_THAT(f.cluster_entry(2)->gateways, ElementsAre(f.peer("192.0.2.99")));
}

TEST(FleetTables, ResolveNextHopsOnceAndAgainWhenRoutesChange) {
  Fleet3 f;
  f.compile();
  EXPECT_THAT(f.asked, testing::UnorderedElementsAre(ip("192.0.1.2"), ip("192.0.2.1"), ip("192.0.3.1")));
  f.asked.clear();
  f.service("east", global_service({"10.200.0.1"}));
  f.compile();
  EXPECT_THAT(f.asked, IsEmpty());
  f.compiler->refresh_next_hops();
  EXPECT_TRUE(f.compile().delta.empty()) << "the same next hops";
  EXPECT_EQ(f.asked.size(), 3U);
}

TEST(FleetTables, LeaveOutGatewaysWithoutARoute) {
  Fleet3 f;
  f.unroutable = {ip("192.0.2.1")};
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->gateways, IsEmpty());
  EXPECT_THAT(f.problem_texts(),
              ElementsAre("fleet/west-1.yaml:1: no route to gateway west-1 of cluster west at 192.0.2.1 "
                          "(add a route to it on this node, or correct spec.underlayAddress)"));
  f.unroutable.clear();
  f.compiler->refresh_next_hops();
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->gateways, ElementsAre(f.peer("192.0.2.1")));
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

// --- our own objects

TEST(OwnGateway, IsFoundInTheHub) {
  Fleet3 f;
  const auto own = find_own_gateway(f.model, "east", "east-1");
  ASSERT_TRUE(own);
  EXPECT_EQ(*own, (OwnGateway{ClusterId{1}, ClusterBits{16}, ip("192.0.1.1"), L4Port{8472}}));
  f.profile({"east", "west"}, "fleet", 511);
  EXPECT_EQ(find_own_gateway(f.model, "east", "east-1")->cluster_bits.shift, 15);
}

TEST(OwnGateway, ErrorsNameTheMissingObject) {
  Fleet3 f;
  EXPECT_EQ(
      find_own_gateway(f.model, "south", "east-1").error().text(),
      "cluster south: the hub has no Cluster object for our own cluster south (add one with its id and podCIDRs, or "
      "correct gateway.cluster in the configuration)");
  EXPECT_EQ(find_own_gateway(f.model, "east", "east-9").error().text(),
            "gateway east-9: the hub has no Gateway object for this gateway (add one with its cluster and "
            "underlayAddress, or correct gateway.name in the configuration)");
  EXPECT_EQ(find_own_gateway(f.model, "west", "east-1").error().text(),
            "fleet/east-1.yaml:1: the Gateway object of this gateway names cluster east, the configuration names west "
            "(correct spec.cluster, or gateway.cluster in the configuration)");
  f.cluster("east", 300, {"10.1.0.0/16"});
  EXPECT_EQ(find_own_gateway(f.model, "east", "east-1").error().text(),
            "fleet/east.yaml:1: our own cluster east has id 300, which is not in 1..255 (give it a "
            "free id in that range)");
}

TEST(OwnGateway, WithoutItNothingIsCompiled) {
  Fleet3 f;
  f.drop(ObjectKind::kGateway, "", "", "east-1");
  const CompileResult result = f.compile();
  EXPECT_TRUE(result.delta.empty());
  EXPECT_THAT(f.problem_texts(), ElementsAre(HasSubstr("the hub has no Gateway object for this gateway")));
  f.gateway("east-1", "east", "192.0.1.1");
  f.compile();
  EXPECT_EQ(f.clusters.size(), 3U);
}

TEST(OwnGateway, KeepsItsParametersWhenItsObjectsAreDeleted) {
  Fleet3 f;
  f.service("east", global_service({"10.200.0.1"}));
  f.slice("east", {{"10.1.0.1"}});
  f.compile();
  f.drop(ObjectKind::kGateway, "", "", "east-1");
  f.drop(ObjectKind::kCluster, "", "", "east");
  const CompileResult result = f.compile();
  EXPECT_TRUE(result.delta.empty());
  EXPECT_EQ(f.backends("10.200.0.1"), "10.1.0.1:8080*");
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("; this gateway keeps the parameters it was started with")));
}

TEST(OwnGateway, DoesNotChangeWhileTheEngineRuns) {
  Fleet3 f;
  f.compile();
  f.cluster("east", 9, {"10.1.0.0/16", "fd00:1::/48"}, {"192.0.1.0/24"});
  const CompileResult nothing = f.compile();
  EXPECT_FALSE(nothing.delta.clusters);
  EXPECT_TRUE(nothing.delta.changed_clusters.empty());
  EXPECT_THAT(f.problem_texts(),
              Contains(AllOf(HasSubstr("has changed in the hub"), HasSubstr("restart this gateway"))));
}

// --- invalid fleet objects

struct Row {
  const char* what;
  void (*corrupt)(Fleet3&);
  const char* problem;
};

class FleetProblems : public testing::TestWithParam<Row> {};

TEST_P(FleetProblems, AreReportedAndAffectNothingElse) {
  const Row& row = GetParam();
  Fleet3 f;
  row.corrupt(f);
  f.compile();
  EXPECT_THAT(f.problem_texts(), Contains(row.problem)) << row.what;
  EXPECT_NE(f.cluster_entry(1), nullptr);
  EXPECT_THAT(f.cluster_entry(3)->gateways, ElementsAre(f.peer("192.0.3.1"))) << "north is not affected";
}

INSTANTIATE_TEST_SUITE_P(
    Rows, FleetProblems,
    testing::Values(
        Row{"two clusters, one id", [](Fleet3& f) { f.cluster("south", 2, {"10.4.0.0/16"}); },
            "fleet/west.yaml:1: clusters south (fleet/south.yaml:1) and west have the same id 2; west is left out "
            "(give "
            "west a unique id)"},
        Row{"an id beyond the profile's", [](Fleet3& f) { f.cluster("west", 300, {"10.2.0.0/16"}); },
            "fleet/west.yaml:1: cluster west has id 300, which is not in 1..255; west is left out (give it a free id "
            "in that range)"},
        Row{"overlapping prefixes",
            [](Fleet3& f) {
              f.cluster("west", 2, {"10.1.128.0/17", "10.2.0.0/16"});
            },
            "fleet/west.yaml:1: prefix 10.1.128.0/17 of cluster west overlaps 10.1.0.0/16 of cluster east "
            "(fleet/east.yaml:1) and is left out (give the clusters prefixes that do not overlap, or each of them "
            "an alias: isthmus allocate --alias west --hub DIR --pool 100.64.0.0/10, or aliasCIDRs of a profile)"},
        Row{"overlap from outside", [](Fleet3& f) { f.cluster("west", 2, {"10.0.0.0/14"}); },
            "fleet/west.yaml:1: prefix 10.0.0.0/14 of cluster west overlaps 10.1.0.0/16 of cluster east "
            "(fleet/east.yaml:1) and is left out (give the clusters prefixes that do not overlap, or each of them "
            "an alias: isthmus allocate --alias west --hub DIR --pool 100.64.0.0/10, or aliasCIDRs of a profile)"},
        Row{"a node's pods in another cluster", [](Fleet3& f) { f.node("west", "w1", "192.0.2.7", "10.1.7.0/24"); },
            "west/w1.yaml:1: prefix 10.1.7.0/24 of cluster west overlaps 10.1.0.0/16 of cluster east "
            "(fleet/east.yaml:1) and is left out (give the clusters prefixes that do not overlap, or each of them "
            "an alias: isthmus allocate --alias west --hub DIR --pool 100.64.0.0/10, or aliasCIDRs of a profile)"},
        Row{"a gateway of no cluster", [](Fleet3& f) { f.gateway("stray", "south", "192.0.9.1"); },
            "fleet/stray.yaml:1: gateway stray belongs to cluster south, which is missing or invalid (add or fix the "
            "Cluster object, or correct spec.cluster)"},
        Row{"a profile with a typo",
            [](Fleet3& f) {
              f.profile({"east", "wset", "north"});
            },
            "fleet/fleet.yaml:1: profile fleet names cluster wset, which has no Cluster object (add the Cluster "
            "object, "
            "or remove the name from the profile)"},
        Row{"no profile",
            [](Fleet3& f) {
              f.profile({"west", "north"});
            },
            "cluster east: no CrossClusterNetworkProfile names this cluster: it exchanges no traffic with other "
            "clusters (add a profile that lists it together with the clusters it may reach)"},
        Row{"profiles with different maxConnectedClusters",
            [](Fleet3& f) {
              f.profile({"east", "west"}, "wide", 511);
            },
            "fleet/wide.yaml:1: profile wide has maxConnectedClusters 511, this gateway was started with 255: "
            "identities would be attributed to the wrong cluster (set the same maxConnectedClusters in all profiles, "
            "then "
            "restart the gateways)"},
        Row{"two gateways at one address", [](Fleet3& f) { f.gateway("west-2", "west", "192.0.2.1"); },
            "fleet/west-2.yaml:1: gateway west-2 and gateway west-1 have the same underlay address 192.0.2.1; west-2 "
            "is left out (give each gateway a unique underlay address)"},
        Row{"a gateway at our address", [](Fleet3& f) { f.gateway("west-1", "west", "192.0.1.1"); },
            "fleet/west-1.yaml:1: gateway west-1 and gateway east-1 (this one) have the same underlay address "
            "192.0.1.1; west-1 is left out (give each gateway a unique underlay address)"},
        Row{"a gateway among pods", [](Fleet3& f) { f.gateway("west-1", "west", "10.1.0.77"); },
            "fleet/west-1.yaml:1: gateway west-1 has the underlay address 10.1.0.77 inside pod prefix 10.1.0.0/16 of "
            "cluster east: packets to this tunnel end would themselves be tunnelled (give it an underlay address "
            "outside "
            "the podCIDRs of every cluster)"},
        Row{"a gateway of the other family", [](Fleet3& f) { f.gateway("west-1", "west", "fd01::1"); },
            "fleet/west-1.yaml:1: gateway west-1 has the underlay address fd01::1, which is of another address "
            "family than ours (192.0.1.1) (give the gateways of linked clusters underlay addresses of the same "
            "family)"},
        Row{"a cluster without a gateway", [](Fleet3& f) { f.drop(ObjectKind::kGateway, "", "", "west-1"); },
            "fleet/west.yaml:1: cluster west has no usable gateway: it cannot be reached (add a Gateway object with "
            "spec.cluster west)"},
        Row{"manifests of an unknown cluster", [](Fleet3& f) { f.pod("wset", "a", {"10.2.0.1"}); },
            "cluster wset: 1 objects are published for cluster wset, which has no Cluster object (add the Cluster "
            "object, "
            "or correct the folder's name)"},
        Row{"a node at a gateway's address", [](Fleet3& f) { f.node("north", "n1", "192.0.2.1"); },
            "north/n1.yaml:1: node n1 of cluster north and gateway west-1 of cluster west have the same underlay "
            "address 192.0.2.1; the node is left out (correct the address of one of them)"}));

TEST(FleetConflicts, AreWonByThePreviousOwnerOfIdPrefixAndAddress) {
  Fleet3 f;
  f.compile();
  f.cluster("aaa", 2, {"10.2.0.0/16"});
  f.cluster("bbb", 4, {"10.3.0.0/16"});
  f.gateway("aaa-1", "bbb", "192.0.2.1");
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("10.2.0.0/16")));
  EXPECT_EQ(f.peers[f.peer("192.0.2.1")].cluster, ClusterId{2});
  EXPECT_THAT(f.cluster_entry(4)->prefixes, IsEmpty());
  EXPECT_THAT(
      f.problem_texts(),
      testing::IsSupersetOf({HasSubstr("clusters west (fleet/west.yaml:1) and aaa have the same id 2; aaa is left"),
                             HasSubstr("prefix 10.3.0.0/16 of cluster bbb overlaps"),
                             HasSubstr("gateway aaa-1 and gateway west-1 have the same underlay address")}));
}

TEST(FleetConflicts, ANodesAddressStaysWithWhoHasItAndIsNotThatOfAnUnlinkedCluster) {
  Fleet3 f;
  f.profile({"east", "west", "north"});
  f.options.own_node_tunnels = true;
  f.node("west", "w1", "192.0.2.50");
  f.node("east", "e1", "192.0.1.50");
  f.compile();
  const auto cluster_at = [&](const char* address) { return f.peers[f.peer(address)].cluster; };
  f.node("north", "n1", "192.0.2.50");
  f.node("north", "n2", "192.0.1.50");
  f.compile();
  EXPECT_EQ(cluster_at("192.0.2.50"), ClusterId{2});
  EXPECT_EQ(cluster_at("192.0.1.50"), ClusterId{1});
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("node n1 of cluster north")));
  f.drop(ObjectKind::kNode, "west", "", "w1");
  f.compile();
  EXPECT_EQ(cluster_at("192.0.2.50"), ClusterId{3});
  f.node("west", "w1", "192.0.2.50");
  f.profile({"east", "west"});
  f.compile();
  EXPECT_EQ(cluster_at("192.0.2.50"), ClusterId{2}) << "north is not linked with us any more";
}

TEST(Gateways, WithSeveralAddressesAreReachedAtOneOfOurFamily) {
  Fleet3 f;
  const GatewayObject gateway{"west", ip("2001:db8::7"), L4Port{8472}, {ip("198.51.100.7"), ip("198.51.100.8")}};
  f.put(ObjectKind::kGateway, "", "", "west-7", gateway);
  f.compile();
  std::vector<IpAddress> ends;
  for (const PeerView& peer : f.compiler->peers()) {
    if (peer.name == "west-7") {
      ends.push_back(peer.underlay);
    }
  }
  EXPECT_EQ(ends, std::vector<IpAddress>{ip("198.51.100.7")});
  EXPECT_THAT(f.problem_texts(), testing::IsEmpty());
  f.put(ObjectKind::kGateway, "", "", "west-7", GatewayObject{"west", ip("2001:db8::7"), L4Port{8472}, {}});
  f.compile();
  EXPECT_THAT(f.problem_texts(), testing::ElementsAre(testing::HasSubstr("of another address family than ours")));
}

GatewayObject east_gateway(std::vector<IpAddress> more, EncapsulationKind kind) {
  return {"east", ip("192.0.1.1"), encapsulation_info(kind).default_port, std::move(more), kind};
}

TEST(Gateways, AreReachedInTheKindTheyAnnounceAndReachUsInOurs) {
  Fleet3 f;
  f.put(ObjectKind::kGateway, "", "", "east-1", east_gateway({}, EncapsulationKind::kGeneve));
  f.compile();
  const PeerEntry& west = f.peers[f.peer("192.0.2.1")];
  EXPECT_EQ(west.kind, EncapsulationKind::kVxlan);
  EXPECT_EQ(west.udp_port, L4Port{8472});
  EXPECT_EQ(west.from_kind, EncapsulationKind::kGeneve);
  f.put(ObjectKind::kGateway, "", "", "west-1",
        GatewayObject{"west", ip("192.0.2.1"), L4Port{6082}, {}, EncapsulationKind::kGeneve});
  f.compile();
  EXPECT_EQ(f.peers[f.peer("192.0.2.1")].kind, EncapsulationKind::kGeneve);
  EXPECT_EQ(f.peers[f.peer("192.0.2.1")].udp_port, L4Port{6082});
}

TEST(Gateways, OfBothFamiliesMeetOverIpv4AndOthersOverTheFamilyTheyShare) {
  Fleet3 f;
  f.put(ObjectKind::kGateway, "", "", "east-1", east_gateway({ip("2001:db8:1::1")}, EncapsulationKind::kVxlan));
  f.put(ObjectKind::kGateway, "", "", "west-7", GatewayObject{"west", ip("2001:db8::7"), L4Port{8472}, {}});
  f.put(ObjectKind::kGateway, "", "", "west-8",
        GatewayObject{"west", ip("2001:db8::8"), L4Port{8472}, {ip("198.51.100.8")}});
  f.compile();
  EXPECT_THAT(f.problem_texts(), testing::IsEmpty());
  EXPECT_NE(f.peer("2001:db8::7"), kNoPeer);
  EXPECT_NE(f.peer("198.51.100.8"), kNoPeer);
  EXPECT_EQ(f.peer("2001:db8::8"), kNoPeer);
}

TEST(OwnGateway, SaysWhereTunnelPacketsAreExpected) {
  OwnGateway own{ClusterId{1}, ClusterBits{16},     ip("192.0.1.1"),
                 L4Port{7000}, {ip("2001:db8::1")}, EncapsulationKind::kGeneve};
  const TunnelEnds ends = own.tunnel_ends();
  EXPECT_EQ(ends.ipv4, ip("192.0.1.1"));
  EXPECT_EQ(ends.ipv6, ip("2001:db8::1"));
  EXPECT_EQ(ends.kind, EncapsulationKind::kGeneve);
  EXPECT_EQ(ends.port(EncapsulationKind::kGeneve), L4Port{7000});
  EXPECT_EQ(ends.port(EncapsulationKind::kVxlan), L4Port{8472}) << "for nodes, which cannot choose";
  own.port = L4Port{8472};
  EXPECT_EQ(own.tunnel_ends().port(EncapsulationKind::kVxlan), L4Port{0}) << "the port is taken by our kind";
}

TEST(OwnGateway, WithTwoAddressesOfOneFamilyIsRefused) {
  Fleet3 f;
  f.put(ObjectKind::kGateway, "", "", "east-1", east_gateway({ip("192.0.1.2")}, EncapsulationKind::kVxlan));
  const auto own = find_own_gateway(f.model, "east", "east-1");
  ASSERT_FALSE(own.ok());
  EXPECT_THAT(own.error().what, testing::HasSubstr("several underlay addresses of one family"));
}

NodeObject node_at(const char* address, const char* pods) {
  NodeObject node;
  node.addresses = {ip(address)};
  node.pod_prefixes = {net(pods)};
  return node;
}

TEST(OwnNodes, AreTunnelPeersWithRoutesToTheirPodsWhereAskedFor) {
  for (const bool asked : {false, true}) {
    Fleet3 f;
    f.options.own_node_tunnels = asked;
    ClusterObject east{ClusterId{1}, {net("10.1.0.0/16")}, {}, EncapsulationKind::kGeneve};
    f.put(ObjectKind::kCluster, "", "", "east", east);
    f.put(ObjectKind::kNode, "east", "", "n1", node_at("192.0.1.1", "10.1.1.0/24"));  // where we run
    f.put(ObjectKind::kNode, "east", "", "n5", node_at("192.0.1.5", "10.1.5.0/24"));
    f.compile();
    EXPECT_EQ(f.peer("192.0.1.1"), kNoPeer);
    const PeerId peer = f.peer("192.0.1.5");
    EXPECT_EQ(peer != kNoPeer, asked);
    if (!asked) {
      EXPECT_THAT(f.compiler->node_routes(), testing::IsEmpty());
      continue;
    }
    EXPECT_EQ(f.peers[peer].kind, EncapsulationKind::kGeneve);
    EXPECT_EQ(f.peers[peer].from_kind, EncapsulationKind::kGeneve);
    EXPECT_EQ(f.peers[peer].udp_port, L4Port{6081});
    EXPECT_FALSE(f.peers[peer].gateway);
    EXPECT_THAT(f.compiler->node_routes(), testing::ElementsAre(NodeRoute{net("10.1.5.0/24"), peer}));
    f.drop(ObjectKind::kNode, "east", "", "n5");
    f.compile();
    EXPECT_THAT(f.compiler->node_routes(), testing::IsEmpty());
    EXPECT_EQ(f.peer("192.0.1.5"), kNoPeer);
  }
}

TEST(NativeClusters, NeedNoGatewayAndAreNeverUnreachable) {
  Fleet3 f;
  f.put(ObjectKind::kCluster, "", "", "south",
        ClusterObject{ClusterId{4}, {net("10.4.0.0/16")}, {}, EncapsulationKind::kNone});
  f.put(ObjectKind::kNode, "south", "", "n1", node_at("192.0.4.1", "10.4.1.0/24"));
  f.profile({"east", "west", "north", "south"});
  f.compile();
  EXPECT_THAT(f.problem_texts(), testing::IsEmpty());
  EXPECT_EQ(f.peer("192.0.4.1"), kNoPeer) << "its nodes have no tunnel";
  for (const ClusterView& cluster : f.compiler->clusters()) {
    EXPECT_EQ(cluster.native, cluster.name == "south");
    EXPECT_FALSE(cluster.unreachable) << cluster.name;
  }
}

}  // namespace
}  // namespace isthmus
