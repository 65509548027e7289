// Blocks of addresses in policies, where pods have addresses of their own and aliases in the fleet.
#include <gtest/gtest.h>

#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;

// West's pods, 10.2.0.0/16 in the fleet, are 10.244.0.0/16 to themselves; they have no labels here.
class PolicyAlias : public ::testing::Test {
 protected:
  void SetUp() override { profile(); }
  void profile(const std::string& own = "10.244.0.0/16") {
    hub.hub.set_text("profile.yaml", "",
                     "apiVersion: isthmus.io/v1alpha1\nkind: CrossClusterNetworkProfile\nmetadata: {name: aliases}\n"
                     "spec: {clusters: [east, west], members: [{cluster: west, podCIDRs: [" +
                         own + "], aliasCIDRs: [10.2.0.0/16]}]}\n");
    hub.compile();
    ASSERT_TRUE(hub.errors().empty()) << hub.errors().front();
  }
  [[nodiscard]] PolicyOutcome from(const std::string& address) const {
    return hub.ingress(address, "east/cart", kTcp, 80).outcome;
  }
  static std::string everyone(const std::string& peers) {
    return ccnp("  endpointSelector: {}\n  ingress:\n  - " + peers);
  }
  PolicyHub hub;
};

TEST_F(PolicyAlias, ABlockSelectsByEitherForm) {
  for (const char* block : {"10.244.7.0/24", "10.2.7.0/24"}) {
    hub.policy(everyone("fromCIDR: [" + std::string(block) + "]"));
    EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kAllowed) << block;
    EXPECT_EQ(from("10.2.8.7"), PolicyOutcome::kDenied) << block;
  }
  hub.policy(everyone("fromCIDR: [10.244.0.0/15]"));
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kAllowed) << "the whole of west";
  EXPECT_EQ(from("10.3.7.7"), PolicyOutcome::kDenied);
}

TEST_F(PolicyAlias, WhatABlockLeavesOutIsLeftOutInEitherForm) {
  for (const char* block : {"10.244.0.0/16", "10.2.0.0/16", "10.0.0.0/8"}) {
    for (const char* hole : {"10.244.7.0/24", "10.2.7.0/24"}) {
      const Prefix outer = Prefix::parse(block).value(), inner = Prefix::parse(hole).value();
      if (!outer.contains(inner)) {
        continue;  // refused as it is written
      }
      hub.policy(everyone("fromCIDRSet: [{cidr: " + std::string(block) + ", except: [" + hole + "]}]"));
      EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kDenied) << block << " without " << hole;
      EXPECT_EQ(from("10.2.8.7"), PolicyOutcome::kAllowed) << block << " without " << hole;
    }
  }
}

TEST_F(PolicyAlias, OwnAddressesThatSomebodyHasInTheFleetAreOnlyTheirs) {
  hub.policy(everyone("fromCIDR: [10.244.7.0/24]"));
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kAllowed);
  hub.hub.set_text("north.yaml", "",
                   "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: north}\n"
                   "spec: {id: 3, podCIDRs: [10.244.0.0/17]}\n");
  hub.compile();
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kDenied) << "the block is north's";
  EXPECT_EQ(from("10.244.7.7"), PolicyOutcome::kAllowed);
  hub.hub.remove("north.yaml");
  hub.compile();
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kAllowed);
}

// Else a block that is meant as our own would allow pods of any cluster.
TEST_F(PolicyAlias, OwnAddressesThatSeveralClustersHaveAreOurs) {
  const auto add = [&](const std::string& cluster, int id, const std::string& own, const std::string& alias) {
    hub.hub.set_text(cluster + "-alias.yaml", "",
                     "apiVersion: isthmus.io/v1alpha1\nkind: CrossClusterNetworkProfile\nmetadata: {name: alias-" +
                         cluster + "}\nspec: {clusters: [" + cluster + "], members: [{cluster: " + cluster +
                         ", podCIDRs: [" + own + "], aliasCIDRs: [" + alias + "]}]}\n" +
                         (id == 0 ? std::string()
                                  : "---\napiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: " + cluster +
                                        "}\nspec: {id: " + std::to_string(id) + ", podCIDRs: [" + alias + "]}\n"));
    hub.compile();
  };
  hub.policy(everyone("fromCIDR: [10.244.7.0/24]"));
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kAllowed) << "west alone has it";
  add("north", 3, "10.244.0.0/17", "10.3.0.0/17");
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kDenied) << "west or north";
  EXPECT_EQ(from("10.3.7.7"), PolicyOutcome::kDenied);
  add("east", 0, "10.244.0.0/18", "10.1.0.0/18");
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kDenied);
  EXPECT_EQ(from("10.1.7.7"), PolicyOutcome::kAllowed) << "ours";
}

TEST_F(PolicyAlias, AChangeOfAliasesIsFollowed) {
  hub.policy(everyone("fromCIDR: [10.245.7.0/24]"));
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kDenied);
  profile("10.245.0.0/16");
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kAllowed);
  profile();
  EXPECT_EQ(from("10.2.7.7"), PolicyOutcome::kDenied);
}

}  // namespace
}  // namespace isthmus
