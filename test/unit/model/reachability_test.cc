// Backends of clusters that cannot be reached, and of those whose gateways are drained.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::IsEmpty;

constexpr const char* kVip = "10.200.0.10";

// A service with a backend in each of two clusters.
struct EastAndWest : Fleet3 {
  EastAndWest() {
    service("east", global_service({kVip}));
    service("west", global_service());
    slice("east", {{"10.1.0.1"}});
    slice("west", {{"10.2.0.1"}});
    compile();
  }
};

TEST(UnreachableCluster, LeavesTheRingAndLosesItsBackendsAfterTheHoldTime) {
  EastAndWest f;
  const PeerId west = f.peer("192.0.2.1");
  EXPECT_THAT(f.cluster_entry(2)->gateways, testing::ElementsAre(west));

  f.compiler->set_reachability({{west}, {}, {}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080") << "established flows stay";
  EXPECT_THAT(f.cluster_entry(2)->gateways, IsEmpty());
  EXPECT_EQ(f.compiler->services()[0].ports[0].backends[1].state, BackendState::kUnreachable);

  f.compiler->set_reachability({{west}, {ClusterId{2}}, {}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*");

  f.compiler->set_reachability({});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080*");
  EXPECT_THAT(f.cluster_entry(2)->gateways, testing::ElementsAre(west));
}

TEST(DrainingCluster, TakesNewFlowsOnlyWhereNoOtherCan) {
  EastAndWest f;
  f.compiler->set_reachability({{}, {}, {ClusterId{2}}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080");
  EXPECT_THAT(f.cluster_entry(2)->gateways, testing::ElementsAre(f.peer("192.0.2.1"))) << "it forwards";
  EXPECT_EQ(f.compiler->services()[0].ports[0].backends[1].state, BackendState::kDraining);
  f.slice("east", {});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*");
  f.slice("east", {{"10.1.0.1"}});
  f.compiler->set_reachability({});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080*");
}

TEST(DrainingCluster, PodsOfItThatEndTakeNoNewFlowsBesideReadyOnes) {
  Fleet3 f;
  f.service("east", global_service({kVip}));
  f.service("west", global_service());
  f.slice("west", {{"10.2.0.1"}, draining("10.2.0.2")});
  f.compile();
  f.compiler->set_reachability({{}, {}, {ClusterId{2}}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080* 10.2.0.2:8080");
  f.slice("east", {draining("10.1.0.2")});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.2:8080 10.2.0.1:8080* 10.2.0.2:8080") << "nor those of others";
}

TEST(DrainingCluster, OneWithNativeRoutingNeedsNoGateway) {
  Fleet3 f;
  f.put(ObjectKind::kCluster, "", "", "south",
        ClusterObject{ClusterId{4}, {net("10.4.0.0/16")}, {}, EncapsulationKind::kNone});
  f.gateway("south-1", "south", "192.0.2.40");
  f.profile({"east", "west", "north", "south"});
  f.service("east", global_service({kVip}));
  f.service("south", global_service());
  f.slice("east", {{"10.1.0.1"}});
  f.slice("south", {{"10.4.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.4.0.1:8080*");
  f.compiler->set_reachability({{}, {}, {ClusterId{4}}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.4.0.1:8080*");
}

TEST(UnreachableCluster, IsNotOneWithAnotherGatewayUp) {
  Fleet3 f;
  f.gateway("west-2", "west", "192.0.2.2");
  f.service("east", global_service({kVip}));
  f.service("west", global_service());
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  f.compiler->set_reachability({{f.peer("192.0.2.1")}, {}, {}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*");
  EXPECT_THAT(f.cluster_entry(2)->gateways, testing::ElementsAre(f.peer("192.0.2.2")));
}

TEST(UnreachableCluster, WithAllBackendsLeavesAnEmptyRing) {
  Fleet3 f;
  f.service("west", global_service({kVip}));
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  f.compiler->set_reachability({{f.peer("192.0.2.1")}, {}, {}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080");
  EXPECT_TRUE(f.frontend(kVip)->backends->ring.empty());
}

}  // namespace
}  // namespace isthmus
