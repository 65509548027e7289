// VIP claims: one holder in the whole fleet, the oldest claim, regardless of the order in which claims arrive.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kVip = "10.200.0.10";

ServiceObject claiming(const std::string& vip, std::int64_t created) {
  ServiceObject service = global_service({vip});
  service.created = created;
  return service;
}

// The name of the service that holds kVip; "" when none does.
std::string holder(const Fleet3& f) {
  const FrontendEntry* entry = f.frontend(kVip);
  return entry == nullptr ? "" : f.compiler->service_name(entry->service);
}

TEST(Claims, ComeFromAnnotationsAndImportsOfAnyLinkedCluster) {
  Fleet3 f;
  f.service("west", claiming(kVip, 1));
  f.import("north", "10.200.0.11");
  f.import("east", "fd00:ff::b");
  f.compile();
  EXPECT_THAT(f.compiler->services().at(0).vips, ElementsAre(ip("10.200.0.10"), ip("10.200.0.11"), ip("fd00:ff::b")));
}

TEST(Claims, TheOlderOfTwoWinsRegardlessOfOrder) {
  for (const bool old_first : {true, false}) {
    Fleet3 f;
    const auto put_old = [&] { f.service("west", claiming(kVip, 100), "old"); };
    const auto put_young = [&] { f.service("east", claiming(kVip, 200), "young"); };
    old_first ? put_old() : put_young();
    f.compile();
    old_first ? put_young() : put_old();
    f.compile();
    EXPECT_EQ(holder(f), "shop/old");
    EXPECT_THAT(
        f.problem_texts(),
        testing::Contains(
            "east/young.yaml:1: service shop/young of cluster east (east/young.yaml:1) claims VIP 10.200.0.10, which "
            "belongs to service shop/old of cluster west (west/old.yaml:1) (remove this claim, and claim another "
            "address: isthmus allocate shop/young --hub DIR --cluster east --pool 10.200.0.0/24)"));
  }
}

// A gateway that sees the claim through etcd sees no time: nobody may decide by the other's.
TEST(Claims, WithoutATimestampAreNotJudgedByAge) {
  for (const std::int64_t seen : {0, 500}) {
    Fleet3 f;
    f.service("east", claiming(kVip, 0), "a");
    f.service("west", claiming(kVip, seen), "b");
    f.compile();
    EXPECT_EQ(holder(f), "shop/a") << seen;
  }
  for (const std::int64_t seen : {0, 500}) {
    Fleet3 f;
    f.service("west", claiming(kVip, 0), "b");
    f.compile();
    f.service("east", claiming(kVip, seen), "a");
    f.compile();
    EXPECT_EQ(holder(f), "shop/b") << seen << ": the holder keeps the VIP";
  }
}

TEST(Claims, OfEqualAgeAreOrderedByClusterThenService) {
  Fleet3 f;
  f.service("west", claiming(kVip, 7), "a");
  f.service("north", claiming(kVip, 7), "c");
  f.service("north", claiming(kVip, 7), "b");
  f.compile();
  EXPECT_EQ(holder(f), "shop/b");
}

TEST(Claims, DoNotMoveToAClaimOfEqualAge) {
  Fleet3 f;
  f.service("west", claiming(kVip, 0), "b");
  f.compile();
  f.service("east", claiming(kVip, 0), "a");
  f.compile();
  EXPECT_EQ(holder(f), "shop/b") << "neither has a timestamp: the holder keeps the VIP";
}

TEST(Claims, PassToTheNextWhenTheHolderWithdraws) {
  Fleet3 f;
  f.service("west", claiming(kVip, 100), "old");
  f.service("east", claiming(kVip, 200), "young");
  f.slice("east", {{"10.1.0.1"}}, 8080, "young");
  f.compile();
  f.drop(ObjectKind::kService, "west", "shop", "old");
  const CompileResult result = f.compile();
  EXPECT_EQ(holder(f), "shop/young");
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");
  EXPECT_THAT(result.delta.remove_frontends, IsEmpty()) << "the frontend changes hands in one step";
  EXPECT_THAT(f.problem_texts(), IsEmpty());
}

TEST(Claims, StayWhileAnotherClusterStillMakesThem) {
  Fleet3 f;
  f.service("west", claiming(kVip, 100));
  f.import("east", kVip);
  f.compile();
  EXPECT_THAT(f.problem_texts(), IsEmpty()) << "two claims for the same service do not conflict";
  ServiceObject west = global_service();
  f.service("west", west);
  f.compile();
  EXPECT_EQ(holder(f), "shop/cart");
}

TEST(Claims, AreRejectedForAddressesInOtherUse) {
  struct Row {
    const char *vip, *why;
  };
  for (const Row& row :
       {Row{"10.2.3.4", "inside the prefixes of cluster west"},
        Row{"fd00:1::99", "inside the prefixes of cluster east"},
        Row{"192.0.2.77", "inside the prefixes of cluster west"},
        Row{"198.51.100.1", "the underlay address of gateway far-1"},
        Row{"172.31.0.1", "a translation address of this gateway"}, Row{"224.0.0.5", "among the multicast addresses"},
        Row{"::1", "among the loopback addresses"}, Row{"0.0.0.0", "among the reserved addresses"}}) {
    Fleet3 f;
    f.options.own_addresses = {ip("172.31.0.1")};
    f.gateway("far-1", "north", "198.51.100.1");
    f.service("east", claiming(row.vip, 1));
    f.compile();
    EXPECT_TRUE(f.frontends.empty()) << row.vip;
    EXPECT_THAT(f.problem_texts(),
                testing::Contains(
                    testing::AllOf(HasSubstr(std::string("service shop/cart of cluster east (east/cart.yaml:1) claims "
                                                         "VIP ") +
                                             row.vip),
                                   HasSubstr(row.why), HasSubstr("the claim is rejected"))));
  }
}

TEST(Claims, StandWhenAGatewayComesWithTheAddress) {
  Fleet3 f;
  f.options.admission.vip_pools.push_back(net("198.51.100.0/24"));
  f.service("east", claiming("198.51.100.1", 1));
  f.compile();
  EXPECT_NE(f.frontend("198.51.100.1"), nullptr);
  f.gateway("far-1", "north", "198.51.100.1");
  f.compile();
  EXPECT_NE(f.frontend("198.51.100.1"), nullptr);
}

// A pool without bounds keeps no gateway out.
TEST(Claims, AreRejectedWhenAGatewayGetsTheAddress) {
  Fleet3 f;
  f.options.admission.vip_pools = {net("0.0.0.0/0")};
  f.service("east", claiming("198.51.100.1", 1));
  f.compile();
  EXPECT_NE(f.frontend("198.51.100.1"), nullptr);
  f.gateway("far-1", "north", "198.51.100.1");
  f.compile();
  EXPECT_EQ(f.frontend("198.51.100.1"), nullptr);
}

TEST(Claims, CoverEveryPortOfTheService) {
  Fleet3 f;
  ServiceObject service = claiming(kVip, 1);
  service.ports.push_back({"dns", IpProtocol::kUdp, L4Port{80}});
  f.service("east", service);
  f.compile();
  EXPECT_EQ(f.frontends.size(), 2U);
}

}  // namespace
}  // namespace isthmus
