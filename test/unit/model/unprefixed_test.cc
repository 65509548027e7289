// Endpoints in no prefix of their cluster: pods of clusters whose nodes have no CIDRs, and pods on their node's
// network.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::uint32_t kWestPod = (2U << 16) + 5, kNorthPod = (3U << 16) + 5;

// West as Azure makes it: a subnet for pods, shared by its nodes, and no node has a CIDR.
class PodSubnet : public testing::Test {
 protected:
  PodSubnet() {
    f.cluster("west", 2, {});
    f.gateway("west-1", "west", "192.0.2.1");
    f.node("west", "w1", "192.0.2.50");
    f.service("west", global_service({"10.200.0.10"}));
  }
  std::vector<Prefix> compile() {
    if (const CompileResult result = f.compile(); result.delta.hosts) {
      hosts = *result.delta.hosts;
    }
    return hosts.fleet;
  }

  Fleet3 f;
  HostPrefixes hosts;
};

TEST_F(PodSubnet, GivesEachPodARoute) {
  f.address("west", "10.22.0.7", kWestPod);
  f.address("west", "10.22.0.9", kWestPod, "b");
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32"), net("10.22.0.9/32")));
  EXPECT_EQ(f.endpoints.at(ip("10.22.0.7")).cluster, ClusterId{2});
  f.address("west", "10.22.0.8", kWestPod, "c");
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32"), net("10.22.0.8/31"))) << "adjacent ones are one route";
  f.drop(ObjectKind::kAddress, "west", "", "10.22.0.9");
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32"), net("10.22.0.8/32")));
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST_F(PodSubnet, FollowsNodesThatComeAndGo) {
  f.address("west", "10.22.0.7", kWestPod);
  f.address("west", "10.33.0.7", kWestPod, "b");
  const auto both = ElementsAre(net("10.22.0.7/32"), net("10.33.0.7/32"));
  EXPECT_THAT(compile(), both);
  f.node("west", "w2", "192.0.2.51", "10.22.0.0/24");
  EXPECT_THAT(compile(), IsEmpty()) << "now a node has a CIDR";
  EXPECT_EQ(f.endpoints.count(ip("10.22.0.7")), 1U);
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("10.33.0.7, which lies outside its cluster's prefixes")));
  f.node("west", "w2", "192.0.2.51");
  EXPECT_THAT(compile(), both);
  f.node("east", "e9", "10.33.0.7");
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32"))) << "an address of a node of ours";
  EXPECT_EQ(f.endpoints.at(ip("10.33.0.7")).cluster, ClusterId{1});
  f.drop(ObjectKind::kNode, "east", "", "e9");
  EXPECT_THAT(compile(), both);
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST_F(PodSubnet, LeavesTheRouteToANodeOfOursToAPrefixThatComesAroundIt) {
  f.node("east", "e1", "192.0.9.5");
  compile();
  EXPECT_THAT(f.hosts.local, ElementsAre(net("192.0.9.5/32")));
  f.node("east", "e2", "192.0.9.6", "192.0.9.0/29");
  compile();
  EXPECT_THAT(f.hosts.local, IsEmpty()) << "and nothing else of e1 has changed";
  f.drop(ObjectKind::kNode, "east", "", "e2");
  compile();
  EXPECT_THAT(f.hosts.local, ElementsAre(net("192.0.9.5/32")));
}

TEST_F(PodSubnet, HasBackendsThereWhileTheyArePublished) {
  f.slice("west", {{"10.22.0.7"}});
  compile();
  EXPECT_EQ(f.backends("10.200.0.10"), "");
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("at none of its endpoints, and are left out: 10.22.0.7")));
  f.address("west", "10.22.0.7", kWestPod);
  compile();
  EXPECT_EQ(f.backends("10.200.0.10"), "10.22.0.7:8080*");
  EXPECT_THAT(f.problem_texts(), IsEmpty());
  f.drop(ObjectKind::kAddress, "west", "", "10.22.0.7");
  compile();
  EXPECT_EQ(f.backends("10.200.0.10"), "");
}

TEST_F(PodSubnet, HasBackendsOnItsNodesAndNoRoutesToThem) {
  f.slice("west", {{"192.0.2.50"}});
  EXPECT_THAT(compile(), IsEmpty()) << "the kernel reaches nodes itself";
  EXPECT_EQ(f.backends("10.200.0.10"), "192.0.2.50:8080*");
  f.address("west", "192.0.2.50", 1);  // Cilium's ip cache has the nodes too
  EXPECT_THAT(compile(), IsEmpty());
  EXPECT_THAT(f.problem_texts(), IsEmpty());
  f.drop(ObjectKind::kAddress, "west", "", "192.0.2.50");
  f.drop(ObjectKind::kNode, "west", "", "w1");
  compile();
  EXPECT_EQ(f.backends("10.200.0.10"), "");
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("at none of its endpoints, and are left out: 192.0.2.50")));
}

TEST_F(PodSubnet, HasNoBackendsOnAnothersNodes) {
  f.node("north", "n1", "192.0.3.50");
  f.slice("west", {{"192.0.3.50"}});
  compile();
  EXPECT_EQ(f.backends("10.200.0.10"), "");
}

TEST_F(PodSubnet, IsAPrefixWhereTheConfigurationNamesIt) {
  f.options.admission.pods["west"] = {net("10.22.0.0/16")};
  f.address("west", "10.22.0.7", kWestPod);
  f.slice("west", {{"10.22.0.7"}});
  EXPECT_THAT(compile(), IsEmpty());
  EXPECT_THAT(f.cluster_entry(2)->prefixes, ElementsAre(net("10.22.0.0/16")));
  EXPECT_EQ(f.backends("10.200.0.10"), "10.22.0.7:8080*");
}

TEST_F(PodSubnet, IsAPrefixWhereTheProfileNamesIt) {
  ProfileObject profile{{"east", "west", "north"}};
  profile.members["west"].pod_prefixes = {net("10.22.0.0/16")};
  f.put(ObjectKind::kProfile, "", "", "fleet", profile);
  compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, ElementsAre(net("10.22.0.0/16")));
}

TEST_F(PodSubnet, LosesItsRoutesToAPrefixThatComes) {
  f.address("west", "10.22.0.7", kWestPod);
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32")));
  f.node("west", "w1", "192.0.2.50", "10.22.0.0/24");
  EXPECT_THAT(compile(), IsEmpty());
  EXPECT_THAT(f.cluster_entry(2)->prefixes, ElementsAre(net("10.22.0.0/24")));
  f.node("west", "w1", "192.0.2.50");
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32")));
}

TEST_F(PodSubnet, HasNoMoreRoutesThanAllowedAndKeepsThoseItHad) {
  f.options.admission.prefixes_per_cluster = 2;
  f.cluster("north", 3, {"10.3.0.0/16"});
  f.address("west", "10.22.0.7", kWestPod);
  f.address("west", "10.22.0.9", kWestPod);
  compile();
  f.address("west", "10.22.0.1", kWestPod);
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32"), net("10.22.0.9/32")));
  EXPECT_THAT(f.problem_texts(),
              ElementsAre(HasSubstr("the pods of cluster west need 3 routes, of which 2 are made; 10.22.0.1/32 is the "
                                    "first that is not")));
  f.address("west", "10.22.0.8", kWestPod);
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32"), net("10.22.0.8/31")));
  f.drop(ObjectKind::kAddress, "west", "", "10.22.0.7");
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.1/32"), net("10.22.0.8/31"))) << "there is room again";
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST_F(PodSubnet, OfOurOwnClusterIsTakenFrom) {
  f.cluster("east", 1, {});
  f.node("east", "e1", "192.0.1.50");
  f.address("east", "10.11.0.7", (1U << 16) + 5);
  compile();
  EXPECT_THAT(hosts.local, ElementsAre(net("10.11.0.7/32"), net("192.0.1.50/32")));
}

TEST(NodeAddresses, OfAClusterWithPrefixesOfBothFamiliesFollowTheRules) {
  Fleet3 f;
  f.cluster("west", 2, {"10.2.0.0/16", "fd00:2::/48"});
  f.gateway("west-1", "west", "192.0.2.1");
  f.node("west", "w1", "172.16.9.5");
  f.address("west", "172.16.9.6", 6);  // as remote-node
  const auto known = [&](const char* address) {
    f.compile();
    return f.endpoints.count(ip(address)) == 1;
  };
  EXPECT_TRUE(known("172.16.9.5") && known("172.16.9.6"));
  ProfileObject profile{{"east", "west", "north"}};
  profile.vip_pools = {net("172.16.9.0/24")};
  f.put(ObjectKind::kProfile, "", "", "fleet", profile);
  EXPECT_FALSE(known("172.16.9.5") || known("172.16.9.6"));
  f.profile({"east", "west", "north"});
  EXPECT_TRUE(known("172.16.9.5") && known("172.16.9.6"));
}

TEST(OwnNodes, AreTakenFromWhereTheyAreGatewaysToo) {
  Fleet3 f;
  f.cluster("east", 1, {"10.1.0.0/16"});
  f.node("east", "e1", "192.0.1.1");  // this gateway's
  f.node("east", "e2", "192.0.1.2");
  f.compile();
  EXPECT_THAT(f.hosts.local, ElementsAre(net("192.0.1.1/32"), net("192.0.1.2/32")));
}

struct Refusal {
  const char* address;
  const char* why;
  bool node = false;
};

class RefusedAddress : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedAddress, IsNoEndpointHasNoRouteAndNoBackend) {
  const Refusal& row = GetParam();
  for (const bool at_start : {true, false}) {
    SCOPED_TRACE(at_start ? "at the start" : "later");
    Fleet3 f;
    f.options.reserved = {{ip("10.9.0.1"), "an address of this node (eth0)"},
                          {ip("10.9.0.2"), "a router of this node (eth0)", true}};
    f.cluster("west", 2, {});
    f.node("east", "e1", "10.9.0.3");
    f.cluster("north", 3, {"10.3.0.0/16"});
    f.node("north", "n1", "192.0.7.7");
    if (!at_start) {
      f.compile();
    }
    f.service("west", global_service({"10.200.0.10"}));
    f.slice("west", {{row.address}});
    if (row.node) {
      f.node("west", "w1", row.address);
    } else {
      f.address("west", row.address, kWestPod);
    }
    const CompileResult result = f.compile();
    EXPECT_THAT(f.problem_texts(), Contains(HasSubstr(std::string("has address ") + row.address + ", " + row.why)));
    EXPECT_TRUE(f.endpoints.count(ip(row.address)) == 0 || f.endpoints[ip(row.address)].cluster != ClusterId{2});
    EXPECT_EQ(f.backends("10.200.0.10"), "");
    EXPECT_TRUE(!result.delta.hosts || result.delta.hosts->fleet.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Hostile, RefusedAddress,
                         testing::Values(Refusal{"8.8.8.8", "which is outside admission.ranges"},
                                         Refusal{"169.254.169.254", "which is among the link-local addresses"},
                                         Refusal{"10.200.0.77", "which overlaps the VIP pool"},
                                         Refusal{"10.9.0.1", "which is an address of this node"},
                                         Refusal{"10.9.0.2", "which is a router of this node"},
                                         Refusal{"10.9.0.3", "which is an address of node e1 of this cluster"},
                                         Refusal{"10.3.0.1", "which lies in cluster north"},
                                         Refusal{"10.1.0.1", "which lies in cluster east"},
                                         Refusal{"10.9.0.1", "which is an address of this node", true},
                                         Refusal{"169.254.169.254", "which is among the link-local addresses", true},
                                         Refusal{"10.200.0.77", "which overlaps the VIP pool", true},
                                         Refusal{"10.3.0.1", "which lies in cluster north", true}));

TEST_F(PodSubnet, OfTwoClustersKeepsAnAddressWithWhoHadIt) {
  f.cluster("north", 3, {});
  f.address("west", "10.22.0.7", kWestPod);
  compile();
  f.address("north", "10.22.0.7", kNorthPod);
  compile();
  EXPECT_EQ(f.endpoints.at(ip("10.22.0.7")).cluster, ClusterId{2});
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("have the same address 10.22.0.7; the first had it and is used")));
  f.address("east", "10.22.0.7", (1U << 16) + 5);
  f.cluster("east", 1, {});
  compile();
  EXPECT_EQ(f.endpoints.at(ip("10.22.0.7")).cluster, ClusterId{1}) << "our own cluster comes before all";
  f.drop(ObjectKind::kAddress, "east", "", "10.22.0.7");
  f.drop(ObjectKind::kAddress, "west", "", "10.22.0.7");
  compile();
  EXPECT_EQ(f.endpoints.at(ip("10.22.0.7")).cluster, ClusterId{3});
}

TEST_F(PodSubnet, IsJudgedAgainWhenTheRulesChange) {
  f.address("west", "10.22.0.7", kWestPod);
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32")));
  f.compiler->set_reserved({{ip("10.22.0.7"), "an address of this node (eth1)"}});
  EXPECT_THAT(compile(), IsEmpty());
  EXPECT_EQ(f.endpoints.count(ip("10.22.0.7")), 0U);
  f.compiler->set_reserved({});
  EXPECT_THAT(compile(), ElementsAre(net("10.22.0.7/32")));
  EXPECT_THAT(f.problem_texts(), Not(Contains(HasSubstr("10.22.0.7"))));
}

}  // namespace
}  // namespace isthmus
