// KVStoreMesh: one hub with the cache layout and several clusters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

using Sync = HubState::Sync;
using testing::ElementsAre;

constexpr const char* kCached = R"("cached":true,"syncedCanaries":true)";

class EtcdMeshTest : public testing::Test {
 protected:
  EtcdMeshTest() : rig("local-east") {}
  void SetUp() override {
    ISTHMUS_NEEDS_ETCD();
    publish();
    rig.options.kvstoremesh = rig.folder.path("mesh");
    rig.folder.write("mesh", rig.config_text(server.url()));
  }
  void publish() const {
    hub::heartbeat(server);
    server.put({{"cilium/cluster-config/east", hub::config(1)},
                {"cilium/cluster-config/west", hub::config(5, kCached)},
                {"cilium/cluster-config/south", hub::config(6, kCached)},
                {"cilium/cache/nodes/v1/west/w-7", hub::node("w-7", "192.0.2.17", "10.51.7.0/24")},
                {"cilium/cache/nodes/v1/south/s-1", hub::node("s-1", "192.0.2.61", "10.61.0.0/24", "south", 6)},
                {"cilium/cache/ip/v1/west/10.51.7.40", hub::ip("10.51.7.40", 331906)},
                {"cilium/cache/identities/v1/west/id/331906", hub::labels("cart")},
                {"cilium/cache/services/v1/west/shop/cart", hub::service("shop/cart", "{}")}});
    hub::put_canaries(server, "west", "cache");
    hub::put_canaries(server, "south", "cache");
  }
  void start() {
    rig.start();
    ASSERT_TRUE(rig.until([&] {
      return rig.source->synced() && rig.is(Sync::kSynced, "south") && rig.is(Sync::kSynced, "west");
    })) << rig.problem_text();
  }
  EtcdServer server;
  EtcdRig rig;
};

TEST_F(EtcdMeshTest, AllClustersOfTheHubAreFollowed) {
  start();
  EXPECT_THAT(rig.members(), ElementsAre("east", "south", "west"));
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
  EXPECT_EQ(rig.count(ObjectKind::kIdentity), 1U);
  EXPECT_NE(rig.node("s-1", "south"), nullptr);
  EXPECT_EQ(rig.source->states().size(), 3U);
  EXPECT_TRUE(rig.is(Sync::kSynced, "kvstoremesh"));
  // KVStoreMesh deletes a cluster's configuration before its data. A new cluster takes over the id.
  server.remove("cilium/cluster-config/south");
  server.put("cilium/cluster-config/north", hub::config(6, kCached));
  hub::put_canaries(server, "north", "cache");
  ASSERT_TRUE(rig.until([&] { return rig.cluster("north") != nullptr; })) << rig.problem_text();
  EXPECT_THAT(rig.members(), ElementsAre("east", "north", "west"));
  EXPECT_EQ(rig.node("s-1", "south"), nullptr);
  EXPECT_EQ(rig.redundant_removals, 0U);
}

TEST_F(EtcdMeshTest, AHubWhoseConfigurationIsNoneIsNotInSync) {
  rig.options.kvstoremesh = rig.folder.path("late");
  rig.folder.write("late", "# written later\n");
  rig.options.sync_timeout = std::chrono::hours(1);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return !rig.source->problems().empty(); }));
  EXPECT_EQ(rig.source->problems()[0].provenance.location, rig.folder.path("late"));
  EXPECT_FALSE(rig.source->synced());
  rig.folder.write("late", rig.config_text(server.url()));
  EXPECT_TRUE(rig.until([&] { return rig.source->synced() && rig.cluster("west") != nullptr; })) << rig.problem_text();
}

TEST_F(EtcdMeshTest, AHubThatHasJustStartedRemovesNoClusters) {
  start();
  const auto objects = rig.objects;
  server.start_empty("second");
  hub::heartbeat(server);
  server.put("cilium/cluster-config/west", hub::config(5, kCached));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed, "south") && rig.is(Sync::kListing, "west"); }))
      << rig.problem_text();
  EXPECT_TRUE(rig.reports("the hub has no configuration of cluster south; its data stays in force"));
  EXPECT_EQ(rig.objects, objects);
  publish();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced, "south") && rig.is(Sync::kSynced, "west"); }));
  EXPECT_EQ(rig.objects, objects);
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdMeshTest, AClusterWithItsOwnConfigurationIsFollowedDirectly) {
  EtcdServer direct;
  hub::publish(direct);
  direct.put("cilium/state/ip/v1/default/10.51.7.50", hub::ip("10.51.7.50", 331906));
  // The role "remote" may read the layout under cilium/state/.
  const TestCertificate remote = etcd_pki().client("remote");
  rig.folder.write("pki/remote.crt", remote.certificate);
  rig.folder.write("pki/remote.key", remote.key);
  const std::string own = "endpoints:\n- " + direct.url() + "\ntrusted-ca-file: " + rig.folder.path("pki/ca.crt") +
                          "\ncert-file: " + rig.folder.path("pki/remote.crt") +
                          "\nkey-file: " + rig.folder.path("pki/remote.key") + "\n";
  rig.folder.replace("configs/west", own);
  start();
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.50") != nullptr; })) << rig.problem_text();
  EXPECT_EQ(rig.state("west").server, direct.url());
  EXPECT_EQ(rig.source->states().size(), 3U);
  rig.folder.remove("configs/west");
  ASSERT_TRUE(rig.until([&] {
    return rig.is(Sync::kSynced, "west") && rig.state("west").server == server.url() && rig.address("10.51.7.40");
  })) << rig.problem_text();
  EXPECT_EQ(rig.address("10.51.7.50"), nullptr);
}

}  // namespace
}  // namespace isthmus
