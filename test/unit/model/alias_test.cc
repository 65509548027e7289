// Aliases of clusters: how what hubs say is read by them, and what is published of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/model/aliases.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::Contains;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

AliasPrefixes aliases() {
  return {{net("10.1.0.0/16"), net("10.101.0.0/16")}, {net("fd00:1::/48"), net("fd00:101::/48")}};
}

TEST(Aliases, AreReadOneToOneAndTakenBack) {
  SliceObject slice;
  slice.service = "web";
  slice.endpoints.emplace_back().addresses = {ip("10.1.2.3"), ip("fd00:1::3"), ip("192.0.2.1")};
  PodObject pod, host_pod;
  pod.addresses = host_pod.addresses = {ip("10.1.2.3")};
  host_pod.host_network = true;
  NodeObject node{{ip("10.1.9.9")}, {net("10.1.2.0/24")}, {ip("10.1.2.1")}, {ip("10.1.2.2")}, {ip("fd00:1::2")}};
  const ObjectDelta rows[] = {
      {{ObjectKind::kSlice, "east", "shop", "web-1"}, slice, {}},
      {{ObjectKind::kPod, "east", "shop", "a"}, pod, {}},
      {{ObjectKind::kPod, "east", "shop", "b"}, host_pod, {}},
      {{ObjectKind::kCiliumEndpoint, "east", "shop", "a"}, CiliumEndpointObject{{ip("10.1.2.3")}, Identity{9}, {}}, {}},
      {{ObjectKind::kAddress, "east", "", "10.1.2.3"},
       AddressObject{net("10.1.2.3/32"), Identity{9}, {}, {}, {}, {}},
       {}},
      {{ObjectKind::kNode, "east", "", "n"}, node, {}},
      {{ObjectKind::kCluster, "", "", "east"}, ClusterObject{ClusterId{1}, {net("10.1.0.0/16")}, {}}, {}},
  };
  for (const ObjectDelta& delta : rows) {
    EXPECT_TRUE(has_aliases(delta.key.kind));
    const ObjectDelta read = to_alias(aliases(), delta);
    const ObjectDelta back = to_own(aliases(), read);
    EXPECT_EQ(back.key, delta.key) << kind_text(delta.key.kind);
    EXPECT_EQ(back.value, delta.value) << kind_text(delta.key.kind);
    const ObjectDelta twice = to_alias(aliases(), read);
    EXPECT_EQ(twice.value, read.value) << "what is an alias already stays";
  }
  const auto read = std::get<SliceObject>(*to_alias(aliases(), rows[0]).value);
  EXPECT_EQ(read.endpoints[0].addresses, (std::vector{ip("10.101.2.3"), ip("fd00:101::3"), ip("192.0.2.1")}));
  EXPECT_EQ(std::get<PodObject>(*to_alias(aliases(), rows[2]).value).addresses, std::vector{ip("10.1.2.3")});
  EXPECT_EQ(to_alias(aliases(), rows[4]).key.name, "10.101.2.3");
  const auto node_read = std::get<NodeObject>(*to_alias(aliases(), rows[5]).value);
  EXPECT_EQ(node_read.addresses, std::vector{ip("10.1.9.9")}) << "of the underlay";
  EXPECT_EQ(node_read.pod_prefixes, std::vector{net("10.101.2.0/24")});
}

// Else it would take other clusters' packets, and those of what nobody has.
TEST(Aliases, OfWhatOurClusterHasNotBeenAdmittedWithAreNotUsed) {
  struct Row {
    const char* description;
    AliasPrefixes aliases;
    std::vector<std::string> pods;  // as hubs' objects are read: by their aliases
    AliasPrefixes used;
    const char* problem;
  };
  const AliasPrefix whole{net("10.1.0.0/16"), net("10.101.0.0/16")};
  const Row rows[] = {
      {"a block that it does not have, by one of west's",
       {{net("10.77.0.0/16"), net("10.2.0.0/16")}},
       {"10.1.0.0/16"},
       {},
       "fleet/east.yaml:1: cluster east has the alias 10.2.0.0/16 for 10.77.0.0/16, of which cluster west has "
       "10.2.0.0/16: it is "
       "not used (give the cluster's podCIDRs and aliasCIDRs (of a profile's member, or admission.aliases) as its "
       "Cluster has them, by an alias that nobody else has)"},
      {"multicast",
       {{net("10.1.0.0/16"), net("224.1.0.0/16")}},
       {"224.1.0.0/16"},
       {},
       "prefix 224.1.0.0/16 (alias of 10.1.0.0/16) of cluster east, which is among the multicast addresses "
       "(224.0.0.0/4), is refused"},
      {"a part of a larger block", {whole}, {"10.101.4.0/24"}, {whole}, ""},
      {"a smaller block of what it has",
       {{net("10.1.4.0/24"), net("10.101.4.0/24")}},
       {"10.101.0.0/16"},
       {{net("10.1.4.0/24"), net("10.101.4.0/24")}},
       ""},
      {"a part of a block of which west has another",
       {{net("10.1.0.0/16"), net("10.2.0.0/16")}},
       {"10.102.0.0/16"},
       {},
       "of which cluster west has 10.2.0.0/16: it is not used"},
      {"none claimed, and nobody has them", {whole}, {}, {whole}, ""},
      {"none claimed, and west has them",
       {{net("10.1.0.0/16"), net("10.2.0.0/16")}},
       {},
       {},
       "of which cluster west has 10.2.0.0/16: it is not used"},
  };
  for (const Row& row : rows) {
    Fleet3 f;
    f.options.admission.aliases["east"] = row.aliases;
    f.cluster("east", 1, row.pods, {"192.0.1.0/24"});
    EXPECT_EQ(f.compile().delta.aliases.value_or(AliasPrefixes{}), row.used) << row.description;
    if (*row.problem != '\0') {
      EXPECT_THAT(f.problem_texts(), Contains(HasSubstr(row.problem))) << row.description;
    } else {
      EXPECT_THAT(f.problem_texts(), testing::Not(Contains(HasSubstr("alias")))) << row.description;
    }
  }
}

TEST(Aliases, OfOthersThatMeetWhatHasNoneAreNamed) {
  Fleet3 f;
  f.options.admission.aliases["west"] = {{net("10.3.0.0/16"), net("10.102.0.0/16")}};
  f.cluster("west", 2, {"10.102.0.0/16"}, {"192.0.2.0/24"});
  static_cast<void>(f.compile());
  EXPECT_THAT(
      f.problem_texts(),
      Contains("fleet/north.yaml:1: cluster north has 10.3.0.0/16 without an alias, and pods of cluster west "
               "have addresses of 10.3.0.0/16 there: they cannot reach each other (give cluster north an alias, "
               "too: isthmus allocate --alias north --hub DIR --pool 100.64.0.0/10, or aliasCIDRs of a profile)"));
}

TEST(Aliases, OfABlockThatIsSharedArePartsOfIt) {
  Fleet3 f;
  f.options.admission.aliases["east"] = {{net("10.1.0.0/16"), net("10.101.0.0/16")}};
  f.cluster("east", 1, {"10.101.4.0/24"}, {"192.0.1.0/24"});
  f.cluster("west", 2, {"10.101.8.0/24"}, {"192.0.2.0/24"});
  EXPECT_EQ(f.compile().delta.aliases, (AliasPrefixes{{net("10.1.4.0/24"), net("10.101.4.0/24")}}));
}

TEST(Aliases, OfOurOwnClusterArePublishedWithItsOwnBackends) {
  Fleet3 f;
  f.options.admission.aliases["east"] = aliases();
  f.cluster("east", 1, {"10.101.0.0/16", "fd00:101::/48"}, {"192.0.1.0/24"});
  f.service("east", global_service({"10.200.0.10"}));
  f.slice("east", {{"10.101.0.1"}});
  f.service("west", global_service());
  f.slice("west", {{"10.2.0.1"}});
  f.pod("east", "a", {"10.101.0.1"});
  const CompileResult result = f.compile();
  EXPECT_EQ(result.delta.aliases, aliases());
  EXPECT_EQ(f.backends("10.200.0.10"), "10.1.0.1:8080* 10.2.0.1:8080*");
  EXPECT_THAT(f.cluster_entry(1)->prefixes,
              UnorderedElementsAre(net("10.101.0.0/16"), net("fd00:101::/48"), net("192.0.1.0/24")));
  for (const char* address : {"10.1.0.1", "10.101.0.1"}) {
    const auto found = f.compiler->find_endpoint(ip(address));
    ASSERT_TRUE(found) << address;
    EXPECT_EQ(found->address, ip("10.101.0.1"));
    EXPECT_EQ(found->own_address, ip("10.1.0.1"));
    EXPECT_EQ(f.compiler->forms_of(ip(address)), (AddressForms{ip("10.1.0.1"), ip("10.101.0.1")}));
  }
  EXPECT_FALSE(f.compiler->forms_of(ip("10.2.0.1")));
  EXPECT_FALSE(f.compile().delta.aliases) << "they are the same";
}

TEST(Aliases, AnotherClusterWithOurOwnAddressesNeedsOneToo) {
  Fleet3 f;
  f.options.admission.aliases["east"] = aliases();
  f.cluster("east", 1, {"10.101.0.0/16"}, {"192.0.1.0/24"});
  f.cluster("west", 2, {"10.1.128.0/17"}, {"192.0.2.0/24"});
  f.compile();
  EXPECT_THAT(f.cluster_entry(2)->prefixes, UnorderedElementsAre(net("192.0.2.0/24")));
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("overlaps 10.1.0.0/16 of this cluster's own pods")));
}

TEST(Aliases, APrefixThatOverlapsIsToldToBeOne) {
  Fleet3 f;
  f.options.admission.aliases["west"] = {{net("10.9.0.0/16"), net("10.3.0.0/16")}};
  f.cluster("north", 3, {"10.3.0.0/16"}, {"192.0.3.0/24"});
  f.compile();
  f.cluster("west", 2, {"10.3.0.0/16"}, {"192.0.2.0/24"});
  f.compile();
  EXPECT_THAT(f.problem_texts(),
              Contains(HasSubstr("prefix 10.3.0.0/16 (alias of 10.9.0.0/16) of cluster west overlaps "
                                 "10.3.0.0/16 of cluster north")));
}

TEST(Aliases, DirectReturnWithAnAliasIsNamed) {
  for (const bool direct_return : {false, true}) {
    for (const bool alias : {false, true}) {
      Fleet3 f;
      f.options.direct_return = direct_return;
      if (alias) {
        f.options.admission.aliases["east"] = aliases();
      }
      f.cluster("east", 1, {alias ? "10.101.0.0/16" : "10.1.0.0/16"}, {"192.0.1.0/24"});
      f.compile();
      const auto named = HasSubstr("services.dsr is geneve, and cluster east has an alias");
      EXPECT_EQ(testing::Matches(Contains(named))(f.problem_texts()), direct_return && alias);
    }
  }
}

// VIPs, nodes and this gateway keep what they have, and who gave the alias learns of it.
TEST(Aliases, OfOursThatOverlapWhatOthersHaveAreNamed) {
  Fleet3 f;
  f.options.admission.aliases["east"] = {{net("10.1.0.0/16"), net("10.200.0.0/16")}};
  f.cluster("east", 1, {"10.200.0.0/16"}, {"192.0.1.0/24"});
  f.compile();
  EXPECT_THAT(f.problem_texts(),
              Contains(HasSubstr("alias 10.200.0.0/16 of 10.1.0.0/16 of this cluster overlaps the VIP pool 10.200")));
  for (const auto& [address, what] :
       {std::pair{"10.101.7.7", "a translation address of this gateway"}, {"10.101.8.8", "an address of node n"}}) {
    Fleet3 g;
    g.options.admission.aliases["east"] = aliases();
    g.options.own_addresses = {ip("10.101.7.7")};
    if (std::string(what).starts_with("an address")) {
      g.options.own_addresses.clear();
      g.put(ObjectKind::kNode, "east", "", "n", NodeObject{{ip(address)}, {}, {}, {}, {}});
    }
    g.cluster("east", 1, {"10.101.0.0/16"}, {"192.0.1.0/24"});
    g.compile();
    EXPECT_THAT(g.problem_texts(),
                Contains(HasSubstr(std::string("of this cluster overlaps ") + address + ", " + what)));
  }
}

// Which is the cause, where it is not in force either.
TEST(Aliases, OfOursThatOverlapAVipPoolAreNamedOnce) {
  for (const char* own : {"10.1.0.0/16", "10.77.0.0/16"}) {
    Fleet3 f;
    f.options.admission.aliases["east"] = {{net(own), net("10.200.0.0/16")}};
    f.cluster("east", 1, {"10.111.0.0/16"}, {"192.0.1.0/24"});
    f.compile();
    std::vector<std::string> named = f.problem_texts();
    std::erase_if(named, [](const std::string& text) { return text.find("10.200.0.0/16") == std::string::npos; });
    EXPECT_THAT(named, testing::ElementsAre(HasSubstr("of this cluster overlaps the VIP pool 10.200.0.0/24"))) << own;
  }
}

TEST(Aliases, OfOthersThatOverlapAVipPoolAreNamedOnce) {
  for (const std::vector<std::string>& pods : {std::vector<std::string>{"10.200.0.0/16"}, {"10.200.0.0/24"}}) {
    Fleet3 f;
    f.options.admission.aliases["west"] = {{net("10.1.0.0/16"), net("10.200.0.0/16")}};
    f.cluster("west", 2, pods, {"192.0.2.0/24"});
    f.compile();
    std::vector<std::string> named = f.problem_texts();
    std::erase_if(named, [](const std::string& text) { return text.find("10.200.0.0") == std::string::npos; });
    const std::string length = pods[0].substr(pods[0].find('/'));
    EXPECT_THAT(
        named,
        testing::ElementsAre(testing::AllOf(
            HasSubstr("prefix 10.200.0.0" + length + " (alias of 10.1.0.0" + length + ") of cluster west, which "),
            HasSubstr(" the VIP pool 10.200.0.0/24, is refused"),
            HasSubstr("isthmus allocate --alias west --hub DIR --pool 100.64.0.0/10"))));
  }
}

// To which of them packets would go, nothing tells.
TEST(Aliases, OfTwoClustersThatAreTheSameAreNamedWithACommand) {
  Fleet3 f;
  f.options.admission.aliases["west"] = {{net("10.1.0.0/16"), net("10.110.0.0/16")}};
  f.options.admission.aliases["north"] = {{net("10.1.0.0/16"), net("10.110.0.0/16")}};
  f.cluster("west", 2, {"10.110.0.0/16"}, {"192.0.2.0/24"});
  f.cluster("north", 3, {"10.110.0.0/16"}, {"192.0.3.0/24"});
  f.compile();
  EXPECT_THAT(f.problem_texts(),
              Contains(testing::AllOf(HasSubstr("overlaps 10.110.0.0/16 (alias of 10.1.0.0/16) of cluster west"),
                                      HasSubstr("is left out"),
                                      HasSubstr("isthmus allocate --alias north --hub DIR --pool 100.64.0.0/10"))));
  EXPECT_THAT(f.cluster_entry(3)->prefixes, testing::Not(Contains(net("10.110.0.0/16"))));
}

TEST(Aliases, OverAnotherClustersPodsAreTheOnesToMove) {
  for (const auto& [aliased, plain] : {std::pair("west", "north"), std::pair("north", "west")}) {
    Fleet3 f;
    f.options.admission.aliases[aliased] = {{net("10.1.0.0/16"), net("10.9.0.0/16")}};
    f.cluster("west", 2, {"10.9.0.0/16"}, {"192.0.2.0/24"});
    f.cluster("north", 3, {"10.9.0.0/16"}, {"192.0.3.0/24"});
    f.compile();
    EXPECT_THAT(f.problem_texts(),
                Contains(testing::AllOf(HasSubstr("is left out (give cluster " + std::string(aliased) +
                                                  " another alias, which nothing else uses: isthmus allocate --alias " +
                                                  aliased + " "))))
        << plain << " has it without one";
  }
}

// To the pods of the cluster they would be other pods'.
TEST(Aliases, NoVipIsAmongThePodsThatHaveThem) {
  Fleet3 f;
  f.options.admission.vip_pools.push_back(net("10.1.255.0/24"));
  f.options.admission.aliases["east"] = aliases();
  f.cluster("east", 1, {"10.101.0.0/16"}, {"192.0.1.0/24"});
  f.service("west", global_service({"10.1.255.9"}));
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("claims VIP 10.1.255.9, which lies inside 10.1.0.0/16 of this "
                                                    "cluster's own pods: the claim is rejected")));
}

// As `isthmus allocate --alias` writes it.
ProfileObject claim_of_west() {
  ProfileObject claim{{"west"}};
  claim.members["west"].pod_prefixes = {net("10.1.0.0/16")};
  claim.members["west"].aliases = {{net("10.1.0.0/16"), net("100.64.0.0/16")}};
  return claim;
}

TEST(Aliases, SeveralProfilesAddToEachOther) {
  Fleet3 f;
  f.put(ObjectKind::kProfile, "", "", "alias-west", claim_of_west());
  ProfileObject fleet{{"east", "west", "north"}};
  fleet.members["west"].aliases = {{net("10.1.0.0/17"), net("10.105.0.0/17")},
                                   {net("fd00:1::/48"), net("fd00:101::/48")},
                                   {net("10.9.0.0/16"), net("100.64.0.0/16")}};
  f.put(ObjectKind::kProfile, "", "", "fleet", fleet);
  EXPECT_EQ(read_aliases(f.model, {})["west"],
            (AliasPrefixes{{net("10.1.0.0/16"), net("100.64.0.0/16")}, {net("fd00:1::/48"), net("fd00:101::/48")}}))
      << "of one block the first by name decides, and no address has two names";
  const ClusterAliases configured{{"west", {{net("10.1.0.0/16"), net("10.120.0.0/16")}}}};
  EXPECT_EQ(read_aliases(f.model, configured), configured) << "what is configured of a cluster is all of it";
}

TEST(Aliases, AClaimLinksNobodyAndAllowsNothing) {
  Fleet3 f;
  f.cluster("west", 2, {"100.64.0.0/16"});
  f.put(ObjectKind::kProfile, "", "", "alias-west", claim_of_west());
  f.profile({"east", "north"});
  f.compile();
  EXPECT_FALSE(f.cluster_entry(2)->linked);
  Fleet3 wide;
  wide.profile({"east", "west", "north"}, "fleet", 511);
  wide.cluster("west", 2, {"100.64.0.0/16"});
  ProfileObject own{{"east"}};
  own.members["east"].pod_prefixes = {net("10.1.0.0/16")};
  own.members["east"].aliases = {{net("10.1.0.0/16"), net("100.65.0.0/16")}};
  wide.put(ObjectKind::kProfile, "", "", "alias-east", own);
  wide.cluster("east", 1, {"100.65.0.0/16"}, {"192.0.1.0/24"});
  wide.put(ObjectKind::kProfile, "", "", "alias-west", claim_of_west());
  wide.compile();
  EXPECT_THAT(wide.problem_texts(), testing::IsEmpty()) << "the others say how identities are numbered";
  EXPECT_TRUE(wide.cluster_entry(2)->linked);
  wide.profile({"west", "north"}, "fleet", 511);
  wide.compile();
  EXPECT_THAT(wide.problem_texts(), Contains(HasSubstr("no CrossClusterNetworkProfile names this cluster")));
}

TEST(Aliases, AreAllowedWithTheBlocksThatTheyStandFor) {
  for (const char* allowed : {"10.1.0.0/16", "10.0.0.0/13", "100.64.0.0/15"}) {
    Fleet3 f;
    f.options.admission.ranges = {net("192.168.0.0/16")};
    f.cluster("west", 2, {"100.64.0.0/16"});
    f.put(ObjectKind::kProfile, "", "", "alias-west", claim_of_west());
    ProfileObject fleet{{"east", "west"}};
    fleet.members["west"].pod_prefixes = {net(allowed)};
    f.put(ObjectKind::kProfile, "", "", "fleet", fleet);
    f.compile();
    EXPECT_THAT(f.cluster_entry(2)->prefixes, Contains(net("100.64.0.0/16"))) << allowed;
    fleet.members["west"].pod_prefixes = {net("10.9.0.0/16")};
    f.put(ObjectKind::kProfile, "", "", "fleet", fleet);
    f.compile();
    EXPECT_THAT(f.cluster_entry(2)->prefixes, testing::Not(Contains(net("100.64.0.0/16"))))
        << "a claim does not widen what others allow";
  }
}

}  // namespace
}  // namespace isthmus
