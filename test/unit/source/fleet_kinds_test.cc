// Cluster, Gateway and CrossClusterNetworkProfile manifests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "test/unit/source/manifest_text.h"

namespace isthmus {
namespace {

using namespace manifest_text;
using testing::ElementsAre;

TEST(FleetKinds, AClusterHasANumberAndBlocks) {
  const auto cluster = read_one<ClusterObject>(
      std::string(kCluster) + "spec: {id: 1, podCIDRs: [10.1.0.0/16, \"fd00:1::/48\"], nodeCIDRs: [192.0.2.0/24]}\n",
      "");
  EXPECT_EQ(cluster.id, ClusterId{1});
  EXPECT_THAT(cluster.pod_prefixes, ElementsAre(prefix("10.1.0.0/16"), prefix("fd00:1::/48")));
  EXPECT_THAT(cluster.node_prefixes, ElementsAre(prefix("192.0.2.0/24")));
}

TEST(FleetKinds, AGatewayHasAnUnderlayAddressAndADefaultPort) {
  const auto gateway = read_one<GatewayObject>(
      std::string(kGateway) + "spec: {cluster: east, underlayAddress: 192.0.2.1, encapsulation: vxlan}\n", "");
  EXPECT_EQ(gateway.cluster, "east");
  EXPECT_EQ(gateway.underlay, ip("192.0.2.1"));
  EXPECT_EQ(gateway.port, L4Port{8472});
  EXPECT_EQ(read_one<GatewayObject>(
                std::string(kGateway) + "spec: {cluster: east, underlayAddress: 192.0.2.1, port: 4789}\n", "")
                .port,
            L4Port{4789});
}

TEST(FleetKinds, AGatewaySaysItsEncapsulationAndAnAddressOfEachFamily) {
  for (const std::string key : {"underlayAddress", "underlayAddresses"}) {
    const auto gateway = read_one<GatewayObject>(std::string(kGateway) + "spec: {cluster: east, " + key +
                                                     ": [192.0.2.1, \"2001:db8::1\"], encapsulation: geneve}\n",
                                                 "");
    EXPECT_EQ(gateway.underlay, ip("192.0.2.1"));
    EXPECT_THAT(gateway.more, ElementsAre(ip("2001:db8::1")));
    EXPECT_EQ(gateway.encapsulation, EncapsulationKind::kGeneve);
    EXPECT_EQ(gateway.port, L4Port{6081});
  }
}

TEST(FleetKinds, AClusterSaysHowItsNodesReachItsPods) {
  for (const auto& [text, kind] : {std::pair{"vxlan", EncapsulationKind::kVxlan},
                                   {"geneve", EncapsulationKind::kGeneve},
                                   {"none", EncapsulationKind::kNone}}) {
    const std::string spec = std::string("spec: {id: 1, podCIDRs: [10.1.0.0/16], encapsulation: ") + text + "}\n";
    EXPECT_EQ(read_one<ClusterObject>(std::string(kCluster) + spec, "").encapsulation, kind);
  }
}

TEST(FleetKinds, AMemberHasAliasesForItsBlocks) {
  const auto member = [](const std::string& more) {
    return std::string(kProfile) + "spec:\n  clusters: [west]\n  members:\n  - {cluster: west, " + more + "}\n";
  };
  const auto profile = read_one<ProfileObject>(
      member("podCIDRs: [10.244.0.0/16, \"fd00:244::/48\"], aliasCIDRs: [10.101.0.0/16, \"fd00:101::/48\"]"), "");
  EXPECT_THAT(profile.members.at("west").aliases,
              ElementsAre(AliasPrefix{prefix("10.244.0.0/16"), prefix("10.101.0.0/16")},
                          AliasPrefix{prefix("fd00:244::/48"), prefix("fd00:101::/48")}));
  for (const char* more : {"aliasCIDRs: [10.101.0.0/16]", "podCIDRs: [10.244.0.0/16], aliasCIDRs: [10.101.0.0/17]",
                           "podCIDRs: [10.244.0.0/16], aliasCIDRs: [10.101.0.0/16, 10.102.0.0/16]",
                           "podCIDRs: [10.244.0.0/16, 10.245.0.0/16], aliasCIDRs: [10.245.0.0/16, 10.101.0.0/16]"}) {
    EXPECT_THAT(one_error(member(more), ""), testing::HasSubstr("aliasCIDRs")) << more;
  }
}

TEST(FleetKinds, AnAliasIsOfOneClusterAndOfAddressesThatSomebodyCanHave) {
  const auto two = [](const char* west, const char* north) {
    return std::string(kProfile) + "spec:\n  clusters: [west, north]\n  members:\n" +
           "  - {cluster: west, podCIDRs: [10.244.0.0/16], aliasCIDRs: [" + west + "]}\n" +
           "  - {cluster: north, podCIDRs: [10.244.0.0/16], aliasCIDRs: [" + north + "]}\n";
  };
  EXPECT_EQ(read_one<ProfileObject>(two("10.101.0.0/16", "10.102.0.0/16"), "").members.size(), 2U);
  EXPECT_THAT(one_error(two("10.101.0.0/16", "10.101.0.0/16"), ""),
              testing::AllOf(testing::HasSubstr("spec.members[1].aliasCIDRs: the alias 10.101.0.0/16 overlaps "
                                                "10.101.0.0/16, the alias of cluster west"),
                             testing::HasSubstr("give each cluster an alias of its own")));
  EXPECT_THAT(one_error(two("169.254.0.0/16", "10.102.0.0/16"), ""),
              testing::HasSubstr("spec.members[0].aliasCIDRs: the alias 169.254.0.0/16, which is among the link-local "
                                 "addresses (169.254.0.0/16), cannot be used"));
}

// As many as a profile can say, which would take minutes by comparing each with each.
TEST(FleetKinds, AliasesOfManyClustersAreToldApart) {
  std::string names, members;
  for (unsigned i = 0; i < 40; ++i) {
    std::string pods, aliases;
    for (unsigned n = 0; n < 1024; ++n) {
      const std::string block = std::to_string(n >> 8) + "." + std::to_string(n & 255) + ".";
      pods += (n == 0 ? "" : ", ") + std::string("10.") + block + "0/30";
      aliases += (n == 0 ? "" : ", ") + std::string("100.") + block + std::to_string(4 * i) + "/30";
    }
    const std::string name = "c" + std::to_string(i);
    names += (i == 0 ? "" : ", ") + name;
    members += "  - {cluster: " + name + ", podCIDRs: [" + pods + "], aliasCIDRs: [" + aliases + "]}\n";
  }
  const auto profile =
      read_one<ProfileObject>(std::string(kProfile) + "spec:\n  clusters: [" + names + "]\n  members:\n" + members, "");
  EXPECT_EQ(profile.members.at("c39").aliases.size(), 1024U);
}

TEST(FleetKinds, AProfileLinksClusters) {
  const auto profile = read_one<ProfileObject>(
      std::string(kProfile) + "spec: {clusters: [east, west, north], maxConnectedClusters: 511}\n", "");
  EXPECT_THAT(profile.clusters, ElementsAre("east", "west", "north"));
  EXPECT_EQ(profile.max_connected_clusters, 511u);
}

TEST(FleetKinds, WhatYamlReadsAsANumberOrABooleanIsANameInQuotes) {
  for (const char* text : {"1", "0x1", "1e3", "007", "0b11", "true", "no", "off", "y"}) {
    const std::string name = std::string("\"") + text + "\"";
    EXPECT_THAT(read_one<ProfileObject>(std::string(kProfile) + "spec: {clusters: [" + name + "]}\n", "").clusters,
                ElementsAre(text));
    EXPECT_FALSE(parse_manifest(std::string(kProfile) + "spec: {clusters: [" + text + "]}\n", "")
                     .documents[0]
                     .document->errors.empty())
        << text;
  }
  for (const char* text : {"east", "e1", "0xg", "1-2", "2026-01-02", "1e", "none", "inf", "nan"}) {
    EXPECT_THAT(read_one<ProfileObject>(std::string(kProfile) + "spec: {clusters: [" + text + "]}\n", "").clusters,
                ElementsAre(text));
  }
}

TEST(FleetKinds, AProfileSaysWhatItsClustersMayClaim) {
  const auto profile = read_one<ProfileObject>(
      std::string(kProfile) +
          "spec:\n  clusters: [east, west]\n  vipPools: [10.200.0.0/24]\n  members:\n"
          "  - {cluster: west, podCIDRs: [10.2.0.0/16], vipPools: [10.201.0.0/24], endpoints: 5000, "
          "megabytes: 0, gateways: 3}\n",
      "");
  EXPECT_THAT(profile.vip_pools, ElementsAre(*Prefix::parse("10.200.0.0/24")));
  EXPECT_EQ(profile.members.at("west").pod_prefixes, std::vector{*Prefix::parse("10.2.0.0/16")});
  EXPECT_THAT(profile.members.at("west").vip_pools, ElementsAre(*Prefix::parse("10.201.0.0/24")));
  EXPECT_EQ(profile.members.at("west").endpoints, 5000U);
  EXPECT_EQ(profile.members.at("west").services, std::nullopt);
  EXPECT_EQ(profile.members.at("west").megabytes, 0U);
  EXPECT_EQ(profile.members.at("west").gateways, 3U);
}

}  // namespace
}  // namespace isthmus
