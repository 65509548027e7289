// What a member of the fleet claims and may not have: it is refused by name, and what the others have stands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// As an operator writes who allows any addresses.
void allow_all(Fleet3& f) { f.options.admission.ranges = {net("0.0.0.0/0"), net("::/0")}; }

void expect_others_untouched(const Fleet3& f) {
  const ClusterEntry* north = f.cluster_entry(3);
  ASSERT_NE(north, nullptr);
  EXPECT_THAT(north->gateways, testing::ElementsAre(f.peer("192.0.3.1")));
  EXPECT_THAT(north->prefixes,
              testing::UnorderedElementsAre(net("10.3.0.0/16"), net("fd00:3::/48"), net("192.0.3.0/24")));
  EXPECT_THAT(f.cluster_entry(2)->gateways, testing::ElementsAre(f.peer("192.0.2.1")));
  EXPECT_EQ(f.backends("10.200.0.10"), "10.3.0.1:8080*");
}

void serve_from_north(Fleet3& f) {
  f.service("north", global_service({"10.200.0.10"}));
  f.slice("north", {{"10.3.0.1"}});
}

struct PrefixRow {
  const char* claimed;
  const char* why;
  bool all_allowed;  // and is refused all the same
};

class ClaimedPrefix : public testing::TestWithParam<PrefixRow> {};

TEST_P(ClaimedPrefix, IsRefusedByName) {
  const PrefixRow& row = GetParam();
  // First claimed by a node, as a member's own hub tells it, then by a Cluster object; at the start, then later.
  for (const bool by_node : {true, false}) {
    for (const bool at_start : {true, false}) {
      SCOPED_TRACE(std::string(by_node ? "by a node" : "by the cluster") + (at_start ? ", at the start" : ", later"));
      Fleet3 f;
      serve_from_north(f);
      f.options.reserved = {{ip("10.9.0.1"), "a router of this node (eth0)"}, {ip("10.9.0.2"), "an address"}};
      if (row.all_allowed) {
        allow_all(f);
      }
      if (!at_start) {
        f.compile();
      }
      if (by_node) {
        f.node("west", "w1", "192.0.2.50", row.claimed);
      } else {
        f.cluster("west", 2, {"10.2.0.0/16", row.claimed});
      }
      f.compile();
      EXPECT_THAT(f.problem_texts(), Contains(HasSubstr(std::string("prefix ") + net(row.claimed).to_string() +
                                                        " of cluster west, " + row.why)));
      EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("10.2.0.0/16")));
      EXPECT_THAT(f.cluster_entry(2)->prefixes, Not(Contains(net(row.claimed))));
      expect_others_untouched(f);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Hostile, ClaimedPrefix,
    testing::Values(PrefixRow{"::/0", "which is shorter than /32", true},
                    PrefixRow{"::/1", "which is shorter than /32", true},
                    PrefixRow{"0.0.0.0/0", "which is shorter than /8", true},
                    PrefixRow{"128.0.0.0/1", "which is shorter than /8", true},
                    PrefixRow{"::fffe:0:0/95", "which includes all IPv4 addresses", true},
                    PrefixRow{"127.0.0.0/8", "which is among the loopback addresses", true},
                    PrefixRow{"::1/128", "which is among the loopback addresses", true},
                    PrefixRow{"169.254.0.0/15", "which includes link-local addresses (169.254.0.0/16)", true},
                    PrefixRow{"169.254.169.254/32", "which is among the link-local addresses", true},
                    PrefixRow{"fe80::/64", "which is among the link-local addresses", true},
                    PrefixRow{"224.0.0.0/8", "which is among the multicast addresses", true},
                    PrefixRow{"ff02::/32", "which is among the multicast addresses", true},
                    PrefixRow{"64:ff9b::/96", "which is among the NAT64's addresses", true},
                    PrefixRow{"64:ff9b:1::/48", "which is among the reserved addresses (::/8)", true},
                    PrefixRow{"240.0.0.0/8", "which is among the reserved addresses", true},
                    PrefixRow{"8.8.8.0/24", "which is outside admission.ranges", false},
                    PrefixRow{"2001:4860::/32", "which is outside admission.ranges", false},
                    PrefixRow{"10.9.0.0/24", "which includes 10.9.0.1, a router of this node (eth0)", true},
                    PrefixRow{"10.200.0.0/16", "which overlaps the VIP pool 10.200.0.0/24", true},
                    PrefixRow{"10.200.0.10/32", "which overlaps the VIP pool 10.200.0.0/24", true},
                    PrefixRow{"192.0.1.0/24", "which includes the underlay address 192.0.1.1 of gateway east-1",
                              true}));

// The other cluster's gateway stands, also at the start: all gateways decide by the lower cluster id.
TEST(Claims, OfAnothersUnderlayAreRefused) {
  for (const bool at_start : {true, false}) {
    Fleet3 f;
    allow_all(f);
    serve_from_north(f);
    if (!at_start) {
      f.compile();
    }
    f.cluster("north", 3, {"10.3.0.0/16", "fd00:3::/48", "192.0.2.0/28"}, {"192.0.3.0/24"});
    f.compile();
    EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("which includes the underlay address 192.0.2.1 of gateway "
                                                      "west-1 of cluster west, is refused")));
    expect_others_untouched(f);
  }
}

// The prefix was there first: the gateway that comes into it is left out.
TEST(Claims, OfAGatewayInAnothersPodsAreRefused) {
  Fleet3 f;
  serve_from_north(f);
  f.compile();
  f.gateway("west-2", "west", "10.3.0.9");
  f.compile();
  EXPECT_THAT(f.problem_texts(),
              Contains(HasSubstr("gateway west-2 has the underlay address 10.3.0.9 inside pod prefix "
                                 "10.3.0.0/16 of cluster north")));
  expect_others_untouched(f);
}

TEST(Claims, OfTooManyPrefixesAreCutOffWhereTheLimitIs) {
  Fleet3 f;
  serve_from_north(f);
  f.options.admission.prefixes_per_cluster = 100;
  ClusterObject west{ClusterId{2}, {}, {}};
  west.pod_prefixes.push_back(net("10.2.0.0/16"));
  f.put(ObjectKind::kCluster, "", "", "west", west);
  f.compile();
  for (unsigned n = 0; n < 70'000; ++n) {  // every second /28, so that none merge
    west.pod_prefixes.push_back(Prefix(IpAddress::ipv4(Be32::of(0x64400000 + 32 * n)), 28));
  }
  f.put(ObjectKind::kCluster, "", "", "west", west);
  f.compile();
  EXPECT_EQ(f.cluster_entry(2)->prefixes.size(), 100U);
  EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("10.2.0.0/16"))) << "it had this one before";
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("cluster west has 70001 prefixes, of which 100 are used")));
  expect_others_untouched(f);
}

// A prefix that takes in what the cluster had is not cut off before what is all new.
TEST(Claims, OfTooManyPrefixesKeepWhatTookInAnEarlierOne) {
  Fleet3 f;
  f.options.admission.prefixes_per_cluster = 1;
  f.cluster("west", 2, {"10.2.128.0/24"});
  f.compile();
  f.cluster("west", 2, {"10.2.0.0/24", "10.2.128.0/24", "10.2.128.0/17"});
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::ElementsAre(net("10.2.128.0/17")));
}

TEST(Claims, ThatAreRefusedAlikeAreOneProblem) {
  Fleet3 f;
  f.cluster("west", 2, {"10.2.0.0/16", "8.8.8.0/24", "8.8.4.0/24", "9.9.9.0/24"});
  f.compile();
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("and 2 more of cluster west, which is outside admission.ranges, "
                                                    "are refused")));
  EXPECT_EQ(f.problem_texts().size(), 1U);
}

// Our own pods may have public addresses; nobody's may be special ones.
TEST(Claims, OfOurOwnClusterNeedNoRange) {
  Fleet3 f;
  f.cluster("east", 1, {"30.1.0.0/16", "127.0.0.0/8"}, {"192.0.1.0/24"});
  f.compile();
  EXPECT_THAT(f.cluster_entry(1)->prefixes, Contains(net("30.1.0.0/16")));
  EXPECT_THAT(f.cluster_entry(1)->prefixes, Not(Contains(net("127.0.0.0/8"))));
}

TEST(Claims, OfVipsThatNoFleetOwnsAreRefused) {
  for (const char* vip : {"169.254.169.254", "fe80::5", "8.8.8.8", "127.0.0.1", "224.0.0.5", "255.255.255.255",
                          "192.0.3.1", "2001:4860:4860::8888"}) {
    Fleet3 f;
    serve_from_north(f);
    f.service("west", global_service({vip}), "bad");
    f.slice("west", {{"10.2.0.7"}}, 8080, "bad");
    f.compile();
    EXPECT_THAT(f.problem_texts(), Contains(HasSubstr(std::string("claims VIP ") + vip + ", which "))) << vip;
    EXPECT_EQ(f.backends(vip), "-") << vip;
    expect_others_untouched(f);
  }
}

TEST(Claims, OfPublicVipsPassWhereTheOperatorAllowsThem) {
  Fleet3 f;
  f.options.admission.vip_pools.push_back(net("198.51.100.0/24"));
  f.service("west", global_service({"198.51.100.7"}));
  f.slice("west", {{"10.2.0.7"}});
  f.compile();
  EXPECT_EQ(f.backends("198.51.100.7"), "10.2.0.7:8080*");
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Claims, OfVipsInNoPoolAreRefused) {
  for (const auto& [vip, pool] :
       {std::pair<const char*, std::string>{"10.200.1.0", "10.200.0.0/24"}, {"fd00:fe::1", "fd00:ff::/64"}}) {
    Fleet3 f;
    f.options.allocate_at.other_services = "--kubeconfig FILE";
    f.service("west", global_service({vip}));
    f.slice("west", {{"10.2.0.7"}});
    f.compile();
    EXPECT_THAT(f.problem_texts(),
                Contains(HasSubstr(std::string("claims VIP ") + vip +
                                   ", which is in no VIP pool of the cluster: the claim is rejected")));
    EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("isthmus allocate shop/cart --kubeconfig FILE --cluster west "
                                                      "--pool " +
                                                      pool)));
    EXPECT_EQ(f.backends(vip), "-") << vip;
  }
}

TEST(Claims, OfVipsThatThisNodeNeedsAreRefused) {
  Fleet3 f;
  f.service("west", global_service({"10.200.0.7"}));
  f.slice("west", {{"10.2.0.7"}});
  f.compile();
  EXPECT_EQ(f.backends("10.200.0.7"), "10.2.0.7:8080*");
  EXPECT_TRUE(f.compiler->set_reserved({{ip("10.200.0.7"), "an address of this node (eth0)"}}));
  EXPECT_FALSE(f.compiler->set_reserved({{ip("10.200.0.7"), "an address of this node (eth0)"}}));
  f.compile();
  EXPECT_EQ(f.backends("10.200.0.7"), "-");
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("claims VIP 10.200.0.7, which is an address of this node (eth0)")));
  f.compiler->set_reserved({});
  f.compile();
  EXPECT_EQ(f.backends("10.200.0.7"), "10.2.0.7:8080*");
}

// The profile gives each cluster what it may claim, also at run time.
TEST(Claims, AreJudgedByTheProfile) {
  Fleet3 f;
  f.options.admission.vip_pools.clear();
  ProfileObject profile{{"east", "west", "north"}, 255};
  profile.members["west"] = {{{net("10.2.0.0/16"), net("30.0.0.0/8")}}, {net("10.201.0.0/24")}};
  f.put(ObjectKind::kProfile, "", "", "fleet", profile);
  f.cluster("west", 2, {"10.2.0.0/16", "30.1.0.0/16", "10.22.0.0/16"});
  f.service("west", global_service({"10.201.0.1"}));
  f.slice("west", {{"10.2.0.7"}});
  f.service("north", global_service({"10.201.0.2"}), "other");
  f.slice("north", {{"10.3.0.1"}}, 8080, "other");
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::ElementsAre(net("10.2.0.0/16"), net("30.1.0.0/16")));
  EXPECT_EQ(f.backends("10.201.0.1"), "10.2.0.7:8080*");
  EXPECT_EQ(f.backends("10.201.0.2"), "-");
  EXPECT_THAT(f.problem_texts(),
              testing::UnorderedElementsAre(
                  HasSubstr("prefix 10.22.0.0/16 of cluster west, which is outside what is allowed to it by name"),
                  HasSubstr("claims VIP 10.201.0.2, which is in no VIP pool of the cluster"),
                  HasSubstr("service shop/other is global but no cluster claims a VIP for it")));
  profile.vip_pools = {net("10.201.0.0/24")};
  f.put(ObjectKind::kProfile, "", "", "fleet", profile);
  f.compile();
  EXPECT_EQ(f.backends("10.201.0.2"), "10.3.0.1:8080*");
}

// A pool without bounds is "anywhere" and is kept from nobody's pods.
TEST(Claims, OfPodsAreNotHeldAgainstAPoolWithoutBounds) {
  Fleet3 f;
  f.options.admission.vip_pools = {net("0.0.0.0/0")};
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("10.2.0.0/16")));
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Claims, OfPodsAreNotHeldAgainstAPoolThatHasAllOfARangeOfPods) {
  Fleet3 f;
  f.options.admission.vip_pools = {net("10.0.0.0/8")};
  f.service("north", global_service({"10.200.0.10"}));
  f.slice("north", {{"10.3.0.1"}});
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("10.2.0.0/16")));
  EXPECT_EQ(f.backends("10.200.0.10"), "10.3.0.1:8080*");
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

// Others on a network that the node is connected to are reached there, not through the gateway.
TEST(Claims, OverANetworkOfThisNodeAreRefused) {
  struct Row {
    const char* prefix;
    bool pods;
  };
  for (const Row& row : {Row{"10.9.0.0/16", true}, Row{"10.9.4.64/26", true}, Row{"10.9.4.0/24", false}}) {
    for (const bool stood : {false, true}) {
      SCOPED_TRACE(std::string(row.prefix) + (stood ? ", which stood before" : ""));
      Fleet3 f;
      const std::vector<ReservedAddress> networks{
          {ip("10.9.4.0"), "a network of this node (eth1)", true, net("10.9.4.0/24")},
          {ip("10.1.1.0"), "a network of this node (cni0)", true, net("10.1.1.0/24")}};
      f.options.reserved = stood ? std::vector<ReservedAddress>{} : networks;
      serve_from_north(f);
      f.cluster(
          "west", 2,
          row.pods ? std::vector<std::string>{"10.2.0.0/16", row.prefix} : std::vector<std::string>{"10.2.0.0/16"},
          row.pods ? std::vector<std::string>{} : std::vector<std::string>{row.prefix});
      f.compile();
      if (stood) {
        f.compiler->set_reserved(networks);
        f.compile();
      }
      EXPECT_THAT(f.problem_texts(), Contains(HasSubstr(std::string("prefix ") + row.prefix +
                                                        " of cluster west, which overlaps 10.9.4.0/24, "
                                                        "a network of this node (eth1), " +
                                                        (stood ? "stays" : "is refused"))));
      const auto has = Contains(net(row.prefix));
      EXPECT_TRUE(testing::Value(f.cluster_entry(2)->prefixes, has) == stood);
      EXPECT_THAT(f.cluster_entry(1)->prefixes, Contains(net("10.1.0.0/16"))) << "our own pods' bridge is ours";
      expect_others_untouched(f);
    }
  }
}

TEST(Claims, OfNodesAtAddressesThatNobodyAllowedAreRefused) {
  Fleet3 f;
  serve_from_north(f);
  f.cluster("west", 2, {"10.2.0.0/16"}, {"8.8.8.0/24"});
  f.compile();
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("prefix 8.8.8.0/24 of cluster west, which is outside "
                                                    "admission.node_ranges, is refused")));
  EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::ElementsAre(net("10.2.0.0/16")));
  expect_others_untouched(f);
}

// Where nobody was first, all gateways take the lower cluster id, whatever the clusters are called.
TEST(Claims, OfOnePrefixAtAStartGoToTheLowerClusterId) {
  Fleet3 f;
  f.cluster("north", 3, {"10.3.0.0/16", "10.9.0.0/16"});
  f.cluster("west", 2, {"10.2.0.0/16", "10.9.0.0/16"});
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("10.9.0.0/16")));
  EXPECT_THAT(f.cluster_entry(3)->prefixes, Not(Contains(net("10.9.0.0/16"))));
}

// A cluster that says an id it cannot have stays with the one it had; who comes new with that one is left out.
TEST(Claims, OfAnIdThatIsNoneOrAnothersLeaveTheClusterAsItWas) {
  for (const unsigned id : {0U, 1U, 3U, 300U}) {
    SCOPED_TRACE(id);
    Fleet3 f;
    serve_from_north(f);
    f.service("west", global_service({"10.200.0.10"}));
    f.slice("west", {{"10.2.0.7"}});
    f.compile();
    f.cluster("west", static_cast<std::uint16_t>(id), {"10.2.0.0/16", "fd00:2::/48"}, {"192.0.2.0/24"});
    f.compile();
    EXPECT_EQ(f.backends("10.200.0.10"), "10.2.0.7:8080* 10.3.0.1:8080*");
    EXPECT_THAT(f.problem_texts(), testing::ElementsAre(HasSubstr("; west stays with its id 2")));
    f.cluster("afar", 2, {"10.4.0.0/16"});
    f.compile();
    EXPECT_EQ(f.backends("10.200.0.10"), "10.2.0.7:8080* 10.3.0.1:8080*");
    EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("; afar is left out")));
  }
}

TEST(Claims, OfAnotherNumberOfClustersAreNamed) {
  Fleet3 f;
  f.profile({"west", "north"}, "others", 511);
  f.compile();
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("profile others has maxConnectedClusters 511")));
}

// Kept ids go before ids that others want.
TEST(Claims, OfAnIdThatAnotherStaysWithAreRefused) {
  Fleet3 f;
  serve_from_north(f);
  f.service("west", global_service({"10.200.0.10"}));
  f.slice("west", {{"10.2.0.7"}});
  f.cluster("west", 2, {"10.2.0.0/16"});
  f.compile();
  f.cluster("west", 0, {"10.2.0.0/16"});
  f.compile();
  f.cluster("north", 2, {"10.3.0.0/16", "fd00:3::/48"}, {"192.0.3.0/24"});
  f.compile();
  EXPECT_EQ(f.backends("10.200.0.10"), "10.2.0.7:8080* 10.3.0.1:8080*");
  EXPECT_THAT(f.problem_texts(), testing::UnorderedElementsAre(HasSubstr("; west stays with its id 2"),
                                                               HasSubstr("; north stays with its id 3")));
}

TEST(Claims, OfGatewaysPassTheRulesToo) {
  for (const char* underlay : {"127.0.0.1", "169.254.169.254", "224.0.0.5", "10.9.0.1", "10.200.0.10", "10.9.0.7"}) {
    SCOPED_TRACE(underlay);
    Fleet3 f;
    serve_from_north(f);
    f.options.reserved = {{ip("10.9.0.1"), "an address of this node (eth0)"},
                          {ip("192.0.2.1"), "the server of a hub (etcd)", true}};  // which may be the gateway itself
    f.node("east", "e9", "10.9.0.7", "10.1.9.0/24");
    f.compile();
    f.gateway("evil", "west", underlay);
    f.compile();
    EXPECT_THAT(f.problem_texts(),
                Contains(HasSubstr(std::string("gateway evil has the underlay address ") + underlay + ", which ")));
    expect_others_untouched(f);
  }
}

// At a start nobody was first: the lower cluster id has the address, whatever the gateways are called.
TEST(Claims, OfAnothersGatewayAddressAreRefused) {
  for (const bool at_start : {true, false}) {
    Fleet3 f;
    serve_from_north(f);
    if (!at_start) {
      f.compile();
    }
    f.gateway("a-evil", "north", "192.0.2.1");
    f.compile();
    EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("gateway a-evil and gateway west-1 have the same underlay")));
    expect_others_untouched(f);
  }
}

// A gateway that carries nothing here is nobody's tunnel end.
TEST(Claims, AreNotHeldAgainstGatewaysThatAreNotUsed) {
  for (const bool linked : {true, false}) {
    Fleet3 f;
    f.cluster("alone", 1 + 3, {"10.4.0.0/16"});
    f.gateway("alone-1", "alone", linked ? "fd00:3::9" : "10.3.0.9");
    if (linked) {
      f.profile({"east", "west", "north", "alone"});
    }
    f.compile();
    EXPECT_THAT(f.cluster_entry(3)->prefixes, Contains(net("10.3.0.0/16")));
    EXPECT_THAT(f.cluster_entry(3)->prefixes, Contains(net("fd00:3::/48")));
  }
}

// What a node needs may be one of the member's own nodes: a router, a hub's server. And what came first stays.
TEST(Claims, StandWhereTheNodeNeedsWhatIsTheMembersOwn) {
  Fleet3 f;
  serve_from_north(f);
  f.options.reserved = {{ip("192.0.3.77"), "the server of a hub (etcd)", true}};
  f.compile();
  expect_others_untouched(f);
  EXPECT_THAT(f.problem_texts(), IsEmpty());
  f.compiler->set_reserved({{ip("10.3.7.1"), "an address of this node (docker0)"}});
  f.compile();
  expect_others_untouched(f);
  EXPECT_THAT(f.problem_texts(), testing::ElementsAre(HasSubstr("10.3.7.1, an address of this node (docker0), stays")));
}

TEST(Claims, OfPodsAreRefusedWhereTheProfileAllowsNone) {
  Fleet3 f;
  ProfileObject profile{{"east", "west", "north"}, 255};
  profile.members["west"].pod_prefixes.emplace();
  f.put(ObjectKind::kProfile, "", "", "fleet", profile);
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::ElementsAre(net("192.0.2.0/24")));
}

// Who writes a profile of others says nothing about us.
TEST(Claims, AreNotJudgedByProfilesThatDoNotNameUs) {
  Fleet3 f;
  serve_from_north(f);
  ProfileObject others{{"west", "north"}, 255};
  others.vip_pools = {net("10.3.0.0/16")};
  f.put(ObjectKind::kProfile, "", "", "others", others);
  f.compile();
  expect_others_untouched(f);
}

}  // namespace
}  // namespace isthmus
