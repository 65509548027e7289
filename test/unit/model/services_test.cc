// Global services: the backends of a VIP, which of them take new flows, and what stays stable under change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kVip = "10.200.0.10";

// --- which backends take new flows: one row per rule

struct Row {
  const char* what;
  ServiceAffinity affinity;
  bool west_shared;
  std::vector<EndpointSpec> east, west;
  std::string backends;  // starred: takes new flows
};

class Choice : public testing::TestWithParam<Row> {};

TEST_P(Choice, FollowsTheRules) {
  const Row& row = GetParam();
  Fleet3 f;
  ServiceObject east = global_service({kVip}), west = global_service();
  east.affinity = row.affinity;
  west.affinity = ServiceAffinity::kLocal;  // ignored: affinity is that of our own Service
  west.shared = row.west_shared;
  f.service("east", east);
  f.service("west", west);
  f.slice("east", row.east);
  f.slice("west", row.west, 9090);
  f.compile();
  EXPECT_EQ(f.backends(kVip), row.backends) << row.what;
}

const ServiceAffinity kNone = ServiceAffinity::kNone, kLocal = ServiceAffinity::kLocal,
                      kRemote = ServiceAffinity::kRemote;

INSTANTIATE_TEST_SUITE_P(
    Rules, Choice,
    testing::Values(
        Row{"all clusters share, ports differ by number",
            kNone,
            true,
            {{"10.1.0.1"}},
            {{"10.2.0.1"}},
            "10.1.0.1:8080* 10.2.0.1:9090*"},
        Row{"an unshared cluster keeps its backends", kNone, false, {{"10.1.0.1"}}, {{"10.2.0.1"}}, "10.1.0.1:8080*"},
        Row{"local: remotes are standby", kLocal, true, {{"10.1.0.1"}}, {{"10.2.0.1"}}, "10.1.0.1:8080* 10.2.0.1:9090"},
        Row{"local: none left, remotes take over", kLocal, true, {}, {{"10.2.0.1"}}, "10.2.0.1:9090*"},
        Row{"local: a terminating local pod does not keep the remotes on standby",
            kLocal,
            true,
            {draining("10.1.0.1")},
            {{"10.2.0.1"}},
            "10.1.0.1:8080 10.2.0.1:9090*"},
        Row{"remote: locals are standby",
            kRemote,
            true,
            {{"10.1.0.1"}},
            {{"10.2.0.1"}},
            "10.1.0.1:8080 10.2.0.1:9090*"},
        Row{"remote: none left, locals take over", kRemote, true, {{"10.1.0.1"}}, {}, "10.1.0.1:8080*"},
        Row{"terminating pods drain",
            kNone,
            true,
            {{"10.1.0.1"}, draining("10.1.0.2")},
            {},
            "10.1.0.1:8080* 10.1.0.2:8080"},
        Row{"only terminating pods left: they serve (KEP-1669)",
            kNone,
            true,
            {draining("10.1.0.2")},
            {draining("10.2.0.2")},
            "10.1.0.2:8080* 10.2.0.2:9090*"},
        Row{"only terminating pods left: affinity applies among them",
            kLocal,
            true,
            {draining("10.1.0.2")},
            {draining("10.2.0.2")},
            "10.1.0.2:8080* 10.2.0.2:9090"},
        Row{"unready pods, and terminating ones that do not serve, are no backends",
            kNone,
            true,
            {{"10.1.0.1"}, unready("10.1.0.2"), dying("10.1.0.3")},
            {unready("10.2.0.1")},
            "10.1.0.1:8080*"},
        Row{"no backends: the frontend has an empty ring", kNone, true, {}, {}, ""}));

TEST(Services, WithWeightZeroDrain) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.service("west", global_service());
  f.slice("east", {{"10.1.0.1"}}, 8080, "cart", 0);
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080 10.2.0.1:8080*");
  f.slice("west", {draining("10.2.0.1")});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080 10.2.0.1:8080*")
      << "weight 0 takes no new flows; a terminating pod takes them when no active one is left";
}

TEST(Services, WeighBackendsByTheirSlices) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.service("west", global_service());
  f.slice("east", {{"10.1.0.1"}}, 8080, "cart", 300);
  f.slice("west", {{"10.2.0.1"}}, 8080, "cart", 100);
  f.compile();
  const auto view = f.compiler->services().at(0).ports.at(0);
  std::map<std::string, std::uint32_t> slots;
  for (const BackendView& b : view.backends) {
    slots[b.cluster] = b.slots;
  }
  EXPECT_NEAR(slots["east"], 188, 2);
  EXPECT_EQ(slots["east"] + slots["west"], 251U);
}

TEST(Services, ThatAskForWhatTheyDoNotGetAreNamed) {
  Fleet3 f;
  ServiceObject west = global_service();
  west.ignored = {"annotation \"service.cilium.io/type\"", "annotation \"service.cilium.io/lb-algorithm\""};
  f.service("east", global_service({kVip}));
  f.service("west", west);
  f.compile();
  EXPECT_THAT(f.problem_texts(),
              testing::ElementsAre(testing::HasSubstr(
                  "service shop/cart of cluster west asks for what a global service does not do: "
                  "annotation \"service.cilium.io/type\", annotation \"service.cilium.io/lb-algorithm\"")));
  west.global = false;
  f.service("west", west);
  f.compile();
  EXPECT_THAT(f.problem_texts(), testing::IsEmpty());
}

TEST(Services, OfOurOwnClusterAreUsedEvenWhenNotShared) {
  Fleet3 f;
  ServiceObject east = global_service({kVip});
  east.shared = false;
  f.service("east", east);
  f.slice("east", {{"10.1.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");
}

TEST(Services, AreReachableFromAClusterWithoutTheService) {
  Fleet3 f;
  f.service("west", global_service());
  f.import("north", kVip);
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*");
}

TEST(Services, ThatAreNotGlobalContributeNoBackends) {
  Fleet3 f;
  ServiceObject service = global_service({kVip});
  service.global = false;
  f.service("east", service);
  f.service("west", global_service());
  f.slice("east", {{"10.1.0.1"}});
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*") << "ours is not global and contributes only its VIP claim";
  ServiceObject west = global_service();
  west.global = false;
  f.service("west", west);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "-");
  EXPECT_TRUE(f.compiler->services().empty());
}

TEST(Services, AreNotGlobalWhenTheirNamespaceOptsOut) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.service("west", global_service());
  f.slice("east", {{"10.1.0.1"}});
  f.slice("west", {{"10.2.0.1"}});
  f.put(ObjectKind::kNamespace, "west", "", "shop", NamespaceObject{{}, {{"clustermesh.cilium.io/global", "False"}}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");
  f.put(ObjectKind::kNamespace, "west", "", "shop", NamespaceObject{{}, {{"clustermesh.cilium.io/global", "True"}}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080*");
}

TEST(Services, OfUnlinkedClustersAreIgnored) {
  Fleet3 f;
  f.profile({"east", "north"});
  f.service("east", global_service({kVip}));
  f.service("west", global_service({"10.200.0.99"}));
  f.slice("east", {{"10.1.0.1"}});
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");
  EXPECT_EQ(f.backends("10.200.0.99"), "-");
  f.profile({"east", "north", "west"});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080*");
  EXPECT_EQ(f.backends("10.200.0.99"), "10.1.0.1:8080* 10.2.0.1:8080*");
}

TEST(Services, KeepFamiliesApart) {
  Fleet3 f;
  f.service("east", global_service({kVip, "fd00:ff::a"}));
  SliceObject v6;
  v6.service = "cart";
  v6.ports = {http(8080)};
  v6.endpoints.push_back({{ip("fd00:1::1")}, true, true, false, {}, {}});
  f.put(ObjectKind::kSlice, "east", "shop", "cart-v6", v6);
  f.slice("east", {{"10.1.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");
  EXPECT_EQ(f.backends("fd00:ff::a"), "fd00:1::1:8080*");
  EXPECT_EQ(f.frontend(kVip)->service, f.frontend("fd00:ff::a")->service);
}

TEST(Services, ShareOneBackendSetBetweenVips) {
  Fleet3 f;
  f.service("east", global_service({kVip, "10.200.0.11"}));
  f.slice("east", {{"10.1.0.1"}});
  f.compile();
  EXPECT_EQ(f.frontend(kVip)->backends, f.frontend("10.200.0.11")->backends);
}

TEST(Services, AnUnnamedPortMatchesTheOnlyPortOfItsProtocol) {
  Fleet3 f;
  ServiceObject service = global_service({kVip});
  service.ports = {{"", IpProtocol::kTcp, L4Port{80}}};
  f.service("east", service);
  f.slice("east", {{"10.1.0.1"}});  // named "http"
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");
}

TEST(Services, MergeDuplicateEndpointsOfSlices) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.slice("east", {draining("10.1.0.1")});
  SliceObject second;
  second.service = "cart";
  second.ports = {http(8080)};
  second.endpoints.push_back({{ip("10.1.0.1")}, true, true, false, {}, {}});
  f.put(ObjectKind::kSlice, "east", "shop", "cart-2", second);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*") << "one pod in two slices: the active entry is used";
}

TEST(Services, TakeClientAffinityFromOurOwnService) {
  Fleet3 f;
  ServiceObject east = global_service({kVip}), west = global_service();
  west.client_ip_affinity = true;
  west.created = 1;
  f.service("west", west);
  f.import("west", kVip);
  f.compile();
  EXPECT_TRUE(f.frontend(kVip)->client_affinity);
  f.service("east", east);
  f.compile();
  EXPECT_FALSE(f.frontend(kVip)->client_affinity);
}

// --- stability

TEST(Services, KeepIdsOfBackendsThatStay) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.slice("east", {{"10.1.0.1"}, {"10.1.0.2"}, {"10.1.0.3"}});
  f.compile();
  const BackendId one = f.backend_id(kVip, "10.1.0.1"), two = f.backend_id(kVip, "10.1.0.2"),
                  three = f.backend_id(kVip, "10.1.0.3");
  const ServiceId service = f.frontend(kVip)->service;
  f.slice("east", {{"10.1.0.3"}, {"10.1.0.4"}, draining("10.1.0.1")});
  f.compile();
  EXPECT_EQ(f.backend_id(kVip, "10.1.0.1"), one);
  EXPECT_EQ(f.backend_id(kVip, "10.1.0.3"), three);
  EXPECT_EQ(f.backend_id(kVip, "10.1.0.2"), BackendId{});
  EXPECT_NE(f.backend_id(kVip, "10.1.0.4"), two) << "a released id is not reused at once";
  EXPECT_EQ(f.frontend(kVip)->service, service);
}

TEST(Services, MoveFewSlotsOfTheRemainingBackends) {
  Fleet3 f;
  f.options.ring_slots = kMaglevSlots;
  f.service("east", global_service({kVip}));
  std::vector<EndpointSpec> pods;
  for (int i = 1; i <= 40; ++i) {
    pods.push_back({"10.1.0." + std::to_string(i)});
  }
  f.slice("east", pods);
  f.compile();
  const auto before = f.frontend(kVip)->backends;
  const IpAddress removed = ip(pods.back().address);
  pods.pop_back();
  f.slice("east", pods);
  f.compile();
  const auto after = f.frontend(kVip)->backends;
  std::size_t moved = 0;
  for (std::size_t slot = 0; slot < before->ring.size(); ++slot) {
    const BackendEntry& was = before->backends[before->ring[slot]];
    moved += was.address != removed && was.id != after->backends[after->ring[slot]].id ? 1 : 0;
  }
  EXPECT_LT(moved, before->ring.size() * 3 / 100);
}

TEST(Services, PublishOnlyWhatChanged) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.slice("east", {{"10.1.0.1"}});
  f.service("east", global_service({"10.200.0.11"}), "other");
  f.compile();
  EXPECT_TRUE(f.compile().delta.empty());
  f.slice("east", {{"10.1.0.1"}});
  EXPECT_TRUE(f.compile().delta.empty()) << "an equal slice";
  f.slice("east", {{"10.1.0.2"}}, 8080, "other");
  const CompileResult result = f.compile();
  ASSERT_EQ(result.delta.upsert_frontends.size(), 1U);
  EXPECT_EQ(result.delta.upsert_frontends[0].key.vip, ip("10.200.0.11"));
  EXPECT_FALSE(result.delta.clusters);
  EXPECT_THAT(result.delta.upsert_peers, IsEmpty());
}

TEST(Services, KeepTheRingWhenOnlyADrainingPodIsRemoved) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.slice("east", {{"10.1.0.1"}, {"10.1.0.3"}, draining("10.1.0.2")});
  f.compile();
  const auto before = f.frontend(kVip)->backends;
  f.slice("east", {{"10.1.0.1"}, {"10.1.0.3"}});
  f.compile();
  EXPECT_EQ(f.frontend(kVip)->backends->ring, before->ring);
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.1.0.3:8080*");
}

TEST(Services, AreRemovedWithTheirFrontends) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  EXPECT_TRUE(f.compile().names_changed);
  f.drop(ObjectKind::kService, "east", "shop", "cart");
  const CompileResult result = f.compile();
  EXPECT_TRUE(result.names_changed);
  ASSERT_EQ(result.delta.remove_frontends.size(), 1U);
  EXPECT_TRUE(f.frontends.empty());
}

// --- problems

TEST(ServiceProblems, ReportAGlobalServiceWithoutVip) {
  Fleet3 f;
  f.service("east", global_service());
  f.compile();
  EXPECT_THAT(f.problem_texts(),
              Contains("east/cart.yaml:1: service shop/cart is global but no cluster claims a VIP for "
                       "it (claim one: isthmus allocate shop/cart --hub DIR --cluster east --pool 10.200.0.0/24, a "
                       "ServiceImport with ips, or the annotation isthmus.io/vip)"));
}

TEST(ServiceProblems, ReportConflictingPortsOfTwoClusters) {
  Fleet3 f;
  ServiceObject east = global_service({kVip}), west = global_service();
  east.created = 100;
  west.created = 200;
  west.ports = {http(81)};
  f.service("east", east);
  f.service("west", west);
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip, 80), "10.2.0.1:8080*");
  EXPECT_EQ(f.backends(kVip, 81), "-");
  EXPECT_THAT(f.problem_texts(),
              Contains("west/cart.yaml:1: service shop/cart: cluster west defines port http (81/TCP), cluster east "
                       "(east/cart.yaml:1) port http (80/TCP); the older Service takes precedence (give the port the "
                       "same name, number and protocol in all clusters)"));
}

TEST(ServiceProblems, ReportAPortThatNoSliceOffers) {
  Fleet3 f;
  ServiceObject service = global_service({kVip});
  service.ports = {{"web", IpProtocol::kTcp, L4Port{80}}};
  f.service("east", service);
  f.slice("east", {{"10.1.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "");
  EXPECT_THAT(f.problem_texts(), testing::ElementsAre(HasSubstr("no EndpointSlice of service shop/cart in cluster east "
                                                                "offers port web (80/TCP) by name and protocol")));
}

TEST(ServiceProblems, ReportBackendsOutsideTheirCluster) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.slice("east", {{"10.1.0.1"}, {"10.2.0.9"}, {"172.16.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*") << "a cluster cannot point at another's pods";
  EXPECT_THAT(f.problem_texts(),
              testing::ElementsAre(
                  HasSubstr("2 backends of service shop/cart in cluster east lie outside that "
                            "cluster's prefixes, at none of its endpoints, and are left out: 10.2.0.9 and others")));
  f.slice("east", {{"10.1.0.1"}});
  f.compile();
  EXPECT_THAT(f.problem_texts(), IsEmpty()) << "fixed";
}

}  // namespace
}  // namespace isthmus
