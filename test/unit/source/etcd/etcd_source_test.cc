// A cluster's etcd, real, from its keys to objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

using testing::ElementsAre;

class EtcdSourceTest : public testing::Test {
 protected:
  void SetUp() override { ISTHMUS_NEEDS_ETCD(); }
  void follow_west() {
    hub::publish(server);
    rig.follow("west", server);
    rig.start();
    ASSERT_TRUE(rig.until([&] { return rig.source->synced() && rig.is(HubState::Sync::kSynced); }))
        << rig.problem_text() << rig.state().last_error;
  }
  EtcdServer server;
  EtcdRig rig;
};

TEST_F(EtcdSourceTest, AClustersKeysBecomeObjects) {
  follow_west();
  ASSERT_NE(rig.cluster(), nullptr);
  EXPECT_EQ(rig.cluster()->id, ClusterId{5});
  EXPECT_THAT(rig.cluster()->pod_prefixes, ElementsAre(*Prefix::parse("10.51.7.0/24")));
  EXPECT_THAT(rig.cluster()->node_prefixes, ElementsAre(*Prefix::parse("192.0.2.17/32")));
  ASSERT_NE(rig.node("w-7"), nullptr);
  ASSERT_NE(rig.address("10.51.7.40"), nullptr);
  EXPECT_EQ(rig.address("10.51.7.40")->identity, Identity{331906});
  EXPECT_EQ(rig.address("10.51.7.40")->node, IpAddress::parse("192.0.2.17"));
  const auto* identity = rig.find<IdentityObject>(ObjectKind::kIdentity, "west", "331906");
  ASSERT_NE(identity, nullptr);
  EXPECT_EQ(identity->labels.at("k8s:app"), "cart");
  const auto* service = rig.find<ServiceObject>(ObjectKind::kService, "west", "cart", "shop");
  ASSERT_NE(service, nullptr);
  EXPECT_TRUE(service->global && service->shared);
  EXPECT_THAT(service->ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{80}}));
  const auto* slice = rig.find<SliceObject>(ObjectKind::kSlice, "west", "cart", "shop");
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->service, "cart");
  EXPECT_THAT(slice->ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{8080}}));
  EXPECT_THAT(rig.members(), ElementsAre("east", "west"));
  const HubState state = rig.state();
  EXPECT_EQ(state.objects, 4U);
  EXPECT_EQ(state.place, server.url());
  EXPECT_EQ(state.connects, 1U);
  EXPECT_EQ(state.last_error, "");
  EXPECT_TRUE(state.last_event.has_value());
  EXPECT_EQ(rig.problem_text(), "");
}

}  // namespace
}  // namespace isthmus
