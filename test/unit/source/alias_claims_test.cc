// isthmus allocate --alias in a folder: which blocks a cluster gets, and what is written.
#include "control/source/file/alias_claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "control/source/manifest/manifest.h"
#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kHeader = "apiVersion: isthmus.io/v1alpha1\nkind: ";

Prefix block(const std::string& text) { return Prefix::parse(text).value(); }

class AliasClaims : public testing::Test {
 protected:
  void SetUp() override {
    cluster("south", 1, R"([10.244.0.0/16, "fd00:244::/48"])");
    cluster("north", 2, R"([10.244.0.0/16, "fd00:244::/48"])");
    hub_.make("clusters/south");
  }
  void cluster(const std::string& name, int id, const std::string& pods, const std::string& nodes = "[]") const {
    hub_.write("fleet/" + name + ".yaml", std::string(kHeader) + "Cluster\nmetadata: {name: " + name +
                                              "}\nspec: {id: " + std::to_string(id) + ", podCIDRs: " + pods +
                                              ", nodeCIDRs: " + nodes + "}\n");
  }
  void profile(const std::string& name, const std::string& spec) const {
    hub_.write("fleet/" + name + ".yaml",
               std::string(kHeader) + "CrossClusterNetworkProfile\nmetadata: {name: " + name + "}\nspec: " + spec);
  }
  Result<AliasClaim> claim(const std::string& cluster, const std::vector<std::string>& pools, bool dry_run = false) {
    AliasClaimRequest request{{cluster, {}}, hub_.path(), std::chrono::milliseconds(30'000), dry_run};
    for (const std::string& pool : pools) {
      request.pools.push_back(block(pool));
    }
    return allocate_alias(request);
  }
  // "100.64.0.0/16* ...", with a star where it is new, or "error: ...".
  std::string claimed(const std::string& cluster, const std::vector<std::string>& pools, bool dry_run = false) {
    const auto result = claim(cluster, pools, dry_run);
    if (!result) {
      EXPECT_FALSE(result.error().fix.empty());
      return "error: " + result.error().text();
    }
    std::string out;
    for (const AliasBlock& each : result->blocks) {
      out += (out.empty() ? "" : " ") + each.pair.alias.to_string() + (each.fresh ? "*" : "");
    }
    return out;
  }
  ProfileObject written(const std::string& cluster) const {
    const Manifest manifest = parse_manifest(hub_.read("fleet/alias-" + cluster + ".yaml"), "");
    EXPECT_EQ(manifest.documents.size(), 1U);
    const ManifestDocument& document = *manifest.documents.at(0).document;
    EXPECT_TRUE(document.errors.empty());
    EXPECT_EQ(document.objects.size(), 1U);
    return std::get<ProfileObject>(*document.objects.at(0).value);
  }
  TemporaryFolder hub_;
};

TEST_F(AliasClaims, ABlockAsLargeAsEachOfThePodsIsWrittenAsAProfileOfThatClusterAlone) {
  const auto made = claim("south", {"100.64.0.0/10", "fd64::/32"});
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_TRUE(made->created);
  EXPECT_EQ(made->where, hub_.path("fleet/alias-south.yaml"));
  ProfileObject expected{{"south"}};
  expected.members["south"].pod_prefixes = {block("10.244.0.0/16"), block("fd00:244::/48")};
  expected.members["south"].aliases = {{block("10.244.0.0/16"), block("100.64.0.0/16")},
                                       {block("fd00:244::/48"), block("fd64::/48")}};
  EXPECT_EQ(written("south"), expected);
  EXPECT_EQ(claimed("north", {"100.64.0.0/10", "fd64::/32"}), "100.65.0.0/16* fd64:0:1::/48*");
}

TEST_F(AliasClaims, RunAgainChangesNothing) {
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}, true), "100.64.0.0/16*");
  EXPECT_FALSE(std::filesystem::exists(hub_.path("fleet/alias-south.yaml"))) << "a dry run writes nothing";
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.64.0.0/16*");
  const std::string text = hub_.read("fleet/alias-south.yaml");
  const auto again = claim("south", {"100.64.0.0/10"});
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->where, hub_.path("fleet/alias-south.yaml:1").substr(0, again->where.size()));
  EXPECT_THAT(again->notes, ElementsAre(HasSubstr("fd00:244::/48 gets no alias: no pool of IPv6 is given")));
  EXPECT_EQ(hub_.read("fleet/alias-south.yaml"), text);
}

TEST_F(AliasClaims, PodsThatAreAddedGetTheMissingBlocksOnly) {
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.64.0.0/16*");
  EXPECT_EQ(claimed("north", {"100.64.0.0/10"}), "100.65.0.0/16*");
  cluster("south", 1, R"([10.240.0.0/24, 10.244.0.0/16, "fd00:244::/48"])");
  EXPECT_EQ(claimed("south", {"100.64.0.0/10", "fd64::/32"}), "100.66.0.0/24* 100.64.0.0/16 fd64::/48*");
  EXPECT_THAT(written("south").members["south"].aliases,
              ElementsAre(AliasPrefix{block("10.244.0.0/16"), block("100.64.0.0/16")},
                          AliasPrefix{block("10.240.0.0/24"), block("100.66.0.0/24")},
                          AliasPrefix{block("fd00:244::/48"), block("fd64::/48")}));
  EXPECT_EQ(claimed("south", {"100.64.0.0/10", "fd64::/32"}), "100.66.0.0/24 100.64.0.0/16 fd64::/48");
  cluster("south", 1, "[10.240.0.0/24]");
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.66.0.0/24");
}

TEST_F(AliasClaims, NothingOfABlockIsAnybodyElses) {
  cluster("east", 3, "[100.64.0.0/16]", "[100.65.3.0/24]");
  profile("fleet",
          "{clusters: [east, south, north], vipPools: [100.66.0.0/24], members: [{cluster: east, vipPools: "
          "[100.67.255.0/24]}, {cluster: north, podCIDRs: [10.244.0.0/16], aliasCIDRs: [100.68.0.0/16]}]}\n");
  hub_.write("fleet/gateway.yaml", std::string(kHeader) +
                                       "Gateway\nmetadata: {name: east-1}\nspec: {cluster: east, underlayAddress: "
                                       "100.69.0.1, port: 8472}\n");
  hub_.write("clusters/east/objects.yaml", R"(apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {isthmus.io/vip: "100.70.0.9"}}
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: other, namespace: shop}
spec: {ips: [100.71.255.255], ports: []}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 100.72.0.1}]}
)");
  cluster("bare", 4, "[]");
  profile("for-bare", "{clusters: [bare, east], members: [{cluster: bare, podCIDRs: [100.73.0.0/16]}]}\n");
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.74.0.0/16*");
}

TEST_F(AliasClaims, WhatAProfileAllowsSaysWhereThePodsAreIfNothingElseDoes) {
  cluster("south", 1, "[]");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}), HasSubstr("nothing says which addresses the pods"));
  profile("fleet", "{clusters: [south, north], members: [{cluster: south, podCIDRs: [10.244.0.0/17]}]}\n");
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.64.0.0/17*");
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.64.0.0/17");
}

TEST_F(AliasClaims, PoolsAreTriedInOrderUntilAllAreUsedUp) {
  const std::vector<std::string> pools = {"100.64.0.0/17", "100.65.0.0/16", "100.66.0.0/16"};
  EXPECT_EQ(claimed("south", pools), "100.65.0.0/16*");
  EXPECT_EQ(claimed("north", pools), "100.66.0.0/16*");
  cluster("east", 3, "[10.244.0.0/16]");
  EXPECT_THAT(claimed("east", pools),
              testing::AllOf(HasSubstr("no free IPv4 block as large as 10.244.0.0/16 is left in the pools"),
                             HasSubstr("give a larger pool"), HasSubstr("100.65.0.0/16, alias of cluster south")));
  cluster("end", 4, "[\"fd00:244::/48\"]");
  EXPECT_THAT(claimed("end", {"ffff:ffff:ffff::/48"}), HasSubstr("no free IPv6 block")) << "nothing is behind it";
}

TEST_F(AliasClaims, WhatUsesThePoolsIsOfTheFamilyThatIsUsedUp) {
  EXPECT_EQ(claimed("south", {"100.64.0.0/16", "fd64::/32"}), "100.64.0.0/16* fd64::/48*");
  EXPECT_THAT(claimed("north", {"100.64.0.0/16", "fd64::/32"}),
              testing::AllOf(HasSubstr("100.64.0.0/16, alias of cluster south"), testing::Not(HasSubstr("fd64::"))));
}

// Gateways would refuse them.
TEST_F(AliasClaims, NoBlockIsOfWhatNobodyHas) {
  EXPECT_EQ(claimed("south", {"0.0.0.0/0", "::/0"}, true), "1.0.0.0/16* 100::/48*");
  EXPECT_EQ(claimed("south", {"169.254.0.0/15", "fd64::/32"}, true), "169.255.0.0/16* fd64::/48*");
  for (const auto& [pool, what] : {std::pair{"127.0.0.0/8", "127.0.0.0/8, loopback addresses"},
                                   {"224.0.0.0/4", "224.0.0.0/4, multicast addresses"},
                                   {"fe80::/10", "fe80::/10, link-local addresses"}}) {
    EXPECT_THAT(claimed("south", {pool, "100.64.0.0/10", "fd64::/32"}, true), testing::Not(HasSubstr("error"))) << pool;
    EXPECT_THAT(claimed("south", {pool}, true), HasSubstr(std::string("in use are ") + what)) << pool;
  }
}

TEST_F(AliasClaims, AnAliasThatExistsIsKeptOrNamed) {
  profile("fleet",
          "{clusters: [south, north], members: [{cluster: south, podCIDRs: [10.244.0.0/16], aliasCIDRs: "
          "[10.101.0.0/16]}]}\n");
  EXPECT_EQ(claimed("south", {"10.96.0.0/11"}), "10.101.0.0/16");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}),
              testing::AllOf(HasSubstr("10.244.0.0/16 of cluster south has the alias 10.101.0.0/16, which is in none "
                                       "of the pools"),
                             HasSubstr("fleet/fleet.yaml"), HasSubstr("remove it from profile fleet")));
  EXPECT_EQ(claimed("south", {"fd64::/32"}), "10.101.0.0/16 fd64::/48*") << "a claim adds to another profile";
  cluster("south", 1, "[10.244.0.0/15]");
  EXPECT_THAT(claimed("south", {"10.96.0.0/11"}), HasSubstr("and is part of 10.244.0.0/15, which has none"));
}

TEST_F(AliasClaims, WhatCannotBeDoneIsNamed) {
  EXPECT_THAT(claimed("west", {"100.64.0.0/10"}), HasSubstr("there is no cluster \"west\""));
  EXPECT_THAT(claimed("West", {"100.64.0.0/10"}), HasSubstr("is not the name of a cluster"));
  EXPECT_THAT(claimed("south", {}), HasSubstr("no pool of addresses is given"));
  EXPECT_THAT(claimed("south", {"100.64.0.0/10", "100.64.0.0/16"}),
              HasSubstr("the pools 100.64.0.0/10 and 100.64.0.0/16 overlap"));
  hub_.write("fleet/broken.yaml", std::string(kHeader) + "Cluster\nmetadata: {name: east}\nspec: {id: x}\n");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}),
              testing::AllOf(HasSubstr("fleet/broken.yaml"), HasSubstr("may contain a claim or an address in use")));
}

TEST_F(AliasClaims, AClaimThatSomebodyHasWrittenOnIsNotOverwritten) {
  const std::string aliases = "podCIDRs: [10.244.0.0/16], aliasCIDRs: [100.64.0.0/16]";
  profile("alias-south", "{clusters: [south, north], members: [{cluster: south, " + aliases + "}]}\n");
  EXPECT_EQ(claimed("south", {"100.64.0.0/10"}), "100.64.0.0/16");
  cluster("south", 1, "[10.244.0.0/16, 10.245.0.0/16]");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}), HasSubstr("says more than a claim of aliases"));
  profile("alias-south", "{clusters: [south], members: [{cluster: south, " + aliases + ", endpoints: 7}]}\n");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}), HasSubstr("says more than a claim of aliases"));
  hub_.remove("fleet/alias-south.yaml");
  profile("both", "{clusters: [south, north]}\n---\n" + std::string(kHeader) +
                      "CrossClusterNetworkProfile\nmetadata: {name: alias-south}\nspec: {clusters: [south], members: "
                      "[{cluster: south, " +
                      aliases + "}]}\n");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}),
              testing::AllOf(HasSubstr("the file has more than the claim of cluster south"),
                             HasSubstr(R"("aliasCIDRs": ["100.64.0.0/16", "100.65.0.0/16"])")));
  hub_.remove("fleet/both.yaml");
  hub_.write("fleet/alias-south.yaml", "# nothing\n");
  EXPECT_THAT(claimed("south", {"100.64.0.0/10"}), HasSubstr("exists already, but does not contain the claim"));
}

TEST_F(AliasClaims, ManyAtOnceNeverGetOneBlockTwice) {
  constexpr int kClusters = 12;
  for (int i = 0; i < kClusters; ++i) {
    cluster("c" + std::to_string(i), 10 + i, "[10.244.0.0/16]");
  }
  std::vector<std::string> got(2 * kClusters);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < got.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto made = claim("c" + std::to_string(i % kClusters), {"100.64.0.0/12"});
      got[i] = made ? made->blocks.front().pair.alias.to_string() : made.error().text();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::set<std::string> all(got.begin(), got.end());
  EXPECT_EQ(all.size(), std::size_t{kClusters}) << testing::PrintToString(got);
  for (int i = 0; i < kClusters; ++i) {
    EXPECT_EQ(got[static_cast<std::size_t>(i)], got[static_cast<std::size_t>(i + kClusters)]);
  }
}

}  // namespace
}  // namespace isthmus
