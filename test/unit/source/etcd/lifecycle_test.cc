// A cluster's data when its hub stops, restarts, restarts empty or as another etcd, or stops answering.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

using Sync = HubState::Sync;
using testing::ElementsAre;

class EtcdLifecycleTest : public testing::Test {
 protected:
  void SetUp() override { ISTHMUS_NEEDS_ETCD(); }
  void follow_west() {
    hub::publish(server);
    rig.follow("west", server);
    rig.start();
    ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  }
  // Twelve more addresses: enough for their loss to be retained.
  void put_addresses() {
    for (int i = 1; i <= 12; ++i) {
      const std::string address = "10.51.7.1" + std::to_string(i);
      server.put("cilium/state/ip/v1/default/" + address, hub::ip(address, 331906));
    }
  }
  EtcdServer server;
  EtcdRig rig;
};

TEST_F(EtcdLifecycleTest, DataStaysInForceWhileTheHubIsStoppedAndIsFollowedAgainAfterwards) {
  follow_west();
  const auto objects = rig.objects;
  server.stop();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kStale) && rig.reports("cluster west cannot be read"); }));
  EXPECT_NE(rig.state().last_error, "");
  EXPECT_TRUE(rig.reports("stays in force"));
  server.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.objects, objects);
  EXPECT_EQ(rig.removals, 0U);
  EXPECT_EQ(rig.problem_text(), "");
  server.put("cilium/state/ip/v1/default/10.51.7.41", hub::ip("10.51.7.41", 331906));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.41") != nullptr; }));
}

TEST_F(EtcdLifecycleTest, KeysDeletedWhileDisconnectedAreRemovedByTheNextList) {
  follow_west();
  server.put("cilium/state/ip/v1/default/10.51.7.41", hub::ip("10.51.7.41", 331906));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.41") != nullptr; }));
  rig.folder.write("pki/client.crt", "not a certificate");
  server.stop();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kStale); }));
  server.start();
  server.remove("cilium/state/ip/v1/default/10.51.7.41");
  server.put("cilium/state/ip/v1/default/10.51.7.42", hub::ip("10.51.7.42", 331906));
  rig.apply();
  EXPECT_NE(rig.address("10.51.7.41"), nullptr);
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.42") != nullptr && rig.address("10.51.7.41") == nullptr; }));
  EXPECT_EQ(rig.removals, 1U);
}

// What was known of a cluster before a restart must not stay because another one's hub is away.
TEST_F(EtcdLifecycleTest, AClusterWithoutAConfigurationIsKnownToBeNoMemberWhoeverIsAway) {
  rig.folder.write("configs/west", rig.config_text("https://127.0.0.1:1"));
  rig.folder.write("configs/south", "");  // may be one that is being written
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.source->listed(ObjectKind::kCluster, "north"); }));
  EXPECT_FALSE(rig.source->listed(ObjectKind::kCluster, "west"));
  EXPECT_FALSE(rig.source->listed(ObjectKind::kCluster, "south"));
  EXPECT_FALSE(rig.source->listed(ObjectKind::kProfile, ""));
}

TEST_F(EtcdLifecycleTest, AFolderThatIsEmptyAtTheStartSaysNothingOfClustersForTheHoldTime) {
  rig.options.hold_time = EtcdRig::Milliseconds(200);
  const auto begin = std::chrono::steady_clock::now();
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.source->listed(ObjectKind::kCluster, "north"); }));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, rig.options.hold_time);
}

TEST_F(EtcdLifecycleTest, AHubThatRestartsEmptyRemovesNothingBeforeItsCanaries) {
  follow_west();
  const auto objects = rig.objects;
  server.start_empty("first");  // the same cluster id, another history
  hub::heartbeat(server);
  server.put("cilium/cluster-config/west", hub::config(5));
  ASSERT_TRUE(rig.until([&] { return rig.state().connects > 1 && rig.is(Sync::kListing); })) << rig.problem_text();
  EXPECT_EQ(rig.objects, objects);
  hub::publish(server);
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.objects, objects);
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdLifecycleTest, AnotherEtcdAtTheSameAddressIsListedFromTheStart) {
  follow_west();
  server.start_empty("second");  // another cluster id
  hub::publish(server);
  server.remove("cilium/state/ip/v1/default/10.51.7.40");
  server.put("cilium/state/ip/v1/default/10.51.7.50", hub::ip("10.51.7.50", 331906));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.50") != nullptr && rig.address("10.51.7.40") == nullptr; }))
      << rig.problem_text();
  EXPECT_NE(rig.cluster(), nullptr);
  EXPECT_EQ(rig.removals, 1U);
}

TEST_F(EtcdLifecycleTest, AServerThatStopsAnsweringIsDetected) {
  rig.options.heartbeat_timeout = EtcdRig::Milliseconds(1000);
  rig.options.call_timeout = EtcdRig::Milliseconds(500);
  follow_west();
  const auto objects = rig.objects;
  server.pause();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kStale); }));
  EXPECT_TRUE(rig.reports("no heartbeat") || rig.reports("Deadline")) << rig.problem_text();
  EXPECT_EQ(rig.objects, objects);
  server.resume();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdLifecycleTest, AMissingHeartbeatReconnectsAndKeepsTheData) {
  rig.options.heartbeat_timeout = EtcdRig::Milliseconds(300);
  follow_west();
  ASSERT_TRUE(rig.until([&] { return rig.state().connects > 2; }));
  EXPECT_THAT(rig.state().last_error, testing::HasSubstr("no heartbeat"));
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdLifecycleTest, ACompactionWhileDisconnectedLosesNoChanges) {
  follow_west();
  // The revisions that the reader misses while it is disconnected are compacted.
  server.stop();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kStale); }));
  server.start();
  for (int i = 0; i < 20; ++i) {
    server.put("cilium/state/ip/v1/default/10.51.7.60", hub::ip("10.51.7.60", 327680U + static_cast<unsigned>(i)));
  }
  server.compact();
  ASSERT_TRUE(rig.until([&] {
    const AddressObject* address = rig.address("10.51.7.60");
    return address != nullptr && address->identity == Identity{327699};
  }));
  server.put("cilium/state/ip/v1/default/10.51.7.61", hub::ip("10.51.7.61", 331906));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.61") != nullptr; }));
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdLifecycleTest, AMassDisappearanceIsRetained) {
  rig.options.hold_time = EtcdRig::Milliseconds(600'000);
  follow_west();
  put_addresses();
  ASSERT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == 13; }));
  server.start_empty("second");
  hub::publish(server);
  ASSERT_TRUE(rig.until([&] { return rig.state().retained == 12; })) << rig.problem_text();
  EXPECT_EQ(rig.count(ObjectKind::kAddress), 13U);
  EXPECT_TRUE(rig.reports("disappeared at once"));
  // One is listed again and one is deleted by an event; the others stay retained.
  server.put("cilium/state/ip/v1/default/10.51.7.11", hub::ip("10.51.7.11", 331906));
  server.put("cilium/state/ip/v1/default/10.51.7.12", hub::ip("10.51.7.12", 331906));
  server.remove("cilium/state/ip/v1/default/10.51.7.12");
  ASSERT_TRUE(rig.until([&] { return rig.state().retained == 10; }));
  EXPECT_EQ(rig.count(ObjectKind::kAddress), 12U);
  EXPECT_NE(rig.address("10.51.7.11"), nullptr);
}

TEST_F(EtcdLifecycleTest, RetainedObjectsAreRemovedAfterTheHoldTime) {
  rig.options.hold_time = EtcdRig::Milliseconds(500);
  follow_west();
  put_addresses();
  ASSERT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == 13; }));
  server.start_empty("second");
  hub::publish(server);
  ASSERT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == 1 && rig.state().retained == 0; }))
      << rig.problem_text();
  EXPECT_EQ(rig.removals, 12U);
}

TEST_F(EtcdLifecycleTest, WithoutRetentionMissingObjectsAreRemovedAtOnce) {
  rig.options.hold_percent = 0;
  follow_west();
  put_addresses();
  ASSERT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == 13; }));
  server.start_empty("second");
  hub::publish(server);
  ASSERT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == 1; })) << rig.problem_text();
}

TEST_F(EtcdLifecycleTest, ANewClusterIdRemovesTheDataOfTheOldOne) {
  follow_west();
  server.put("cilium/cluster-config/west", hub::config(6));
  ASSERT_TRUE(rig.until([&] { return rig.cluster() == nullptr || rig.cluster()->id == ClusterId{6}; }));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.40") == nullptr && rig.state().rejected > 0; }));
  EXPECT_TRUE(rig.reports("331906"));  // remaining values with the old id are rejected
  EXPECT_EQ(rig.redundant_removals, 0U);
}

TEST_F(EtcdLifecycleTest, AClusterThatSaysOurIdStaysWithItsOwn) {
  follow_west();
  server.put("cilium/cluster-config/west", hub::config(1, ""));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed); }));
  EXPECT_TRUE(rig.reports("cluster east already uses; its data under its old id stays in force"));
  EXPECT_THAT(rig.members(), ElementsAre("east", "west"));
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
  server.put("cilium/cluster-config/west", hub::config(5));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced) && rig.address("10.51.7.40") != nullptr; }));
  EXPECT_FALSE(rig.reports("already uses"));
}

TEST_F(EtcdLifecycleTest, ARejectedConfigurationLeavesTheFormerOneInForce) {
  follow_west();
  server.put("cilium/cluster-config/west", hub::config(0));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed) && rig.reports("not in 1..255"); }));
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
  server.put("cilium/cluster-config/west", hub::config(5));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); }));
}

// The last one of a folder: a mount that fails looks alike.
TEST_F(EtcdLifecycleTest, AFolderWithoutAnyFileKeepsItsClustersForTheHoldTime) {
  follow_west();
  rig.folder.remove("configs/west");
  ASSERT_TRUE(rig.until([&] { return rig.reports("no etcd configuration any more"); })) << rig.problem_text();
  server.put("cilium/state/ip/v1/default/10.51.7.99", hub::ip("10.51.7.99", 331906));
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.99") != nullptr; })) << "it is followed as before";
  EXPECT_EQ(rig.removals, 0U);
  rig.follow("west", server);
  ASSERT_TRUE(rig.until([&] { return !rig.reports("no etcd configuration any more"); }));
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdLifecycleTest, ADeletedFileRemovesItsCluster) {
  rig.options.hold_time = EtcdRig::Milliseconds(300);
  follow_west();
  rig.folder.remove("configs/west");
  ASSERT_TRUE(rig.until([&] { return rig.source->states().empty() && rig.objects.size() == 1; }));
  EXPECT_THAT(rig.members(), ElementsAre("east"));
  EXPECT_EQ(rig.redundant_removals, 0U);
  rig.follow("west", server);
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced) && rig.address("10.51.7.40") != nullptr; }));
}

TEST_F(EtcdLifecycleTest, AChangedFileReconnectsAndKeepsTheData) {
  follow_west();
  rig.folder.replace("configs/west", rig.config_text(server.url()) + "# another text\n");
  ASSERT_TRUE(rig.until([&] { return rig.state().connects == 2 && rig.is(Sync::kSynced); }));
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdLifecycleTest, AFileThatCannotBeReadKeepsItsClusterAndOthersAreIgnored) {
  const std::string large(std::size_t{2} << 20, '#');
  rig.folder.write("configs/notes", large);
  follow_west();
  EXPECT_FALSE(rig.reports("notes"));
  rig.folder.replace("configs/west", large);
  ASSERT_TRUE(rig.until([&] { return rig.reports("its cluster stays in force"); }));
  rig.folder.replace("configs/west", "");
  ASSERT_TRUE(rig.until([&] { return rig.reports("it is not an etcd client configuration"); }));
  rig.folder.write("configs/more", large);  // scanned twice more: a missing file would be taken as removed by now
  rig.folder.write("configs/again", large);
  rig.folder.replace("configs/west", rig.config_text(server.url()) + "# restored\n");
  ASSERT_TRUE(rig.until([&] { return !rig.reports("stays in force") && rig.is(Sync::kSynced); }));
  EXPECT_EQ(rig.removals, 0U);
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
}

TEST_F(EtcdLifecycleTest, TheLinkSwapOfAMountedSecretIsDetected) {
  rig.options.hold_time = EtcdRig::Milliseconds(300);
  hub::publish(server);
  rig.folder.write("configs/..1/other", "no configuration");
  std::filesystem::create_symlink("..1", rig.folder.path("configs/..data"));
  rig.start();
  rig.folder.write("configs/..2/west", rig.config_text(server.url()));
  std::filesystem::create_symlink("..data/west", rig.folder.path("configs/west"));
  std::filesystem::create_symlink("..2", rig.folder.path("configs/..new"));
  std::filesystem::rename(rig.folder.path("configs/..new"), rig.folder.path("configs/..data"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  std::filesystem::create_symlink("..1", rig.folder.path("configs/..new"));
  std::filesystem::rename(rig.folder.path("configs/..new"), rig.folder.path("configs/..data"));
  ASSERT_TRUE(rig.until([&] { return rig.source->states().empty() && rig.cluster() == nullptr; }));
}

TEST_F(EtcdLifecycleTest, AMissingFolderRemovesNothing) {
  follow_west();
  rig.folder.move("configs", "away");
  ASSERT_TRUE(rig.until([&] { return rig.reports("the folder of etcd configurations cannot be read"); }));
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
  rig.folder.move("away", "configs");
  ASSERT_TRUE(rig.until([&] { return rig.problem_text().empty(); }));
  EXPECT_EQ(rig.state().connects, 1U);
}

TEST_F(EtcdLifecycleTest, TheFirstOfTwoClustersWithOneIdKeepsIt) {
  follow_west();
  EtcdServer other(EtcdServer::Options{"south", "first"});
  hub::heartbeat(other);
  other.put("cilium/cluster-config/south", hub::config(5));
  hub::put_canaries(other, "south");
  rig.follow("south", other);
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed, "south"); }));
  EXPECT_TRUE(rig.reports("which cluster west already uses"));
  EXPECT_NE(rig.cluster(), nullptr);
  rig.folder.remove("configs/west");
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced, "south") && rig.cluster("south") != nullptr; }))
      << rig.problem_text();
  EXPECT_THAT(rig.members(), ElementsAre("east", "south"));
}

TEST_F(EtcdLifecycleTest, TheConfigurationOfOurOwnClusterIsIgnored) {
  hub::publish(server);
  rig.follow("east", server);
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); }));
  EXPECT_EQ(rig.source->states().size(), 1U);
}

TEST_F(EtcdLifecycleTest, AnUnreachableHubAtStartBlocksNeitherSyncNorShutdown) {
  rig.options.sync_timeout = EtcdRig::Milliseconds(300);
  rig.follow("west", server);
  server.pause();
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.source->synced(); }));
  EXPECT_TRUE(rig.is(Sync::kConnecting));
  const auto before = std::chrono::steady_clock::now();
  rig.source.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
}

}  // namespace
}  // namespace isthmus
