// Peers that say that they are drained, peers that are dead before anybody knows them, and what a successor is told.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "control/health/known_peers.h"
#include "test/unit/health/fleet_simulator.h"

namespace isthmus::test {
namespace {

// Gateways 1 and 2 of cluster 2, and 3 of cluster 3, to confirm.
class DrainedPeers : public testing::Test {
 protected:
  DrainedPeers() {
    fleet.add(1, 2);
    fleet.add(2, 2);
    fleet.add(3, 3);
  }
  [[nodiscard]] std::vector<PeerId> unusable() const { return fleet.health().unusable_peers(); }
  [[nodiscard]] PeerHealth peer(unsigned id) const { return fleet.health().peers()[id - 1]; }

  mutable FleetSimulator fleet{HealthOptions{}};
  const std::vector<PeerId> none, first{PeerId{1}}, second{PeerId{2}};
};

TEST_F(DrainedPeers, AreLeftAtTheirNextAnswerAndUsedAgainAtOnceAfterUndo) {
  fleet.run(3 * kSecond);
  fleet[1].draining = true;
  fleet.run(milliseconds(200));
  EXPECT_EQ(unusable(), first);
  EXPECT_EQ(fleet.mirrored_unusable, std::set{PeerId{1}});
  EXPECT_EQ(fleet.health().unreachable_peers(), none) << "it answers";
  EXPECT_TRUE(peer(1).draining);
  fleet[1].draining = false;
  fleet.run(milliseconds(200));
  EXPECT_EQ(unusable(), none);
  EXPECT_TRUE(fleet.mirrored_unusable.empty());
}

TEST_F(DrainedPeers, AreLeftByOneThatStartsMeanwhile) {
  fleet[1].draining = true;
  fleet.run(milliseconds(400));
  EXPECT_EQ(unusable(), first);
}

TEST_F(DrainedPeers, CostNothingWhenTheyEndAndReturn) {
  fleet.run(3 * kSecond);
  for (int round = 0; round < 6; ++round) {
    fleet[1].draining = true;
    fleet.run(kSecond);
    fleet[1].up = false;
    fleet.run(2 * kSecond);
    ASSERT_EQ(fleet.health().unreachable_peers(), first);
    EXPECT_EQ(peer(1).answers_needed, HealthOptions{}.recover);
    EXPECT_TRUE(peer(1).draining) << "it had said so";
    fleet[1].up = true;
    fleet[1].draining = false;
    fleet.run(kSecond + milliseconds(100));
    ASSERT_EQ(unusable(), none) << "round " << round;
  }
  EXPECT_EQ(peer(1).failures, 0U);
  EXPECT_EQ(peer(1).penalty, 1U);
}

TEST_F(DrainedPeers, StayInUseWhereNoOtherOfTheirClusterServes) {
  fleet.run(3 * kSecond);
  EXPECT_TRUE(fleet[1].another);
  EXPECT_FALSE(fleet[3].another) << "it is its cluster's only one";
  fleet[1].draining = fleet[2].draining = true;
  fleet.run(kSecond);
  EXPECT_EQ(unusable(), none);
  EXPECT_EQ(fleet.health().draining_clusters(), std::vector{ClusterId{2}});
  EXPECT_TRUE(fleet.health().unreachable_clusters().empty());
  EXPECT_FALSE(fleet[1].another);
  EXPECT_FALSE(fleet[2].another);
  fleet[2].up = false;
  fleet.run(2 * kSecond);
  EXPECT_EQ(unusable(), second);
  EXPECT_EQ(fleet.health().draining_clusters(), std::vector{ClusterId{2}});
  fleet[2].up = true;
  fleet[2].draining = false;
  fleet.run(2 * kSecond);
  EXPECT_EQ(unusable(), first);
  EXPECT_TRUE(fleet.health().draining_clusters().empty());
  EXPECT_TRUE(fleet[1].another);
  EXPECT_FALSE(fleet[2].another);
}

TEST_F(DrainedPeers, AreUsedAgainWhenTheOtherDies) {
  fleet.run(3 * kSecond);
  fleet[1].draining = true;
  fleet.run(kSecond);
  fleet[2].up = false;
  fleet.run(2 * kSecond);
  EXPECT_EQ(unusable(), second);
  EXPECT_TRUE(fleet.mirrored_clusters.empty());
}

TEST_F(DrainedPeers, AreNotUsedAgainWhileTheirEndIsNotConfirmed) {
  fleet.run(3 * kSecond);
  fleet[1].draining = true;
  fleet.run(kSecond);
  fleet[1].up = false;
  fleet.run(3 * kSecond, [&] { ASSERT_EQ(unusable(), first); });
}

TEST_F(DrainedPeers, AreLeftWhereAnotherThatNeverAnsweredIsDeadOnlyOnceOneServes) {
  fleet[2].up = false;
  fleet[1].draining = true;
  fleet.run(2 * kSecond);
  EXPECT_EQ(unusable(), second) << "it is drained, but forwards";
  fleet[2].up = true;
  fleet.run(2 * kSecond);
  EXPECT_EQ(unusable(), first);
}

TEST(UntriedPeers, AreUnreachableWhereAnotherGatewayOfTheirClusterAnswers) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    FleetSimulator fleet({.seed = seed}, seed);
    fleet.add(1, 2);
    fleet.add(2, 2);
    fleet.add(3, 3);
    fleet[1].up = fleet[3].up = false;
    fleet.run(kSecond);
    ASSERT_EQ(fleet.health().unusable_peers(), std::vector{PeerId{1}}) << "seed " << seed;
    fleet.run(60 * kSecond);
    ASSERT_EQ(fleet.health().unusable_peers(), std::vector{PeerId{1}}) << "seed " << seed;
    EXPECT_EQ(fleet.health().peers()[0].failures, 0U) << "it has not been up yet";
    fleet[1].up = true;
    fleet.run(kSecond);
    ASSERT_TRUE(fleet.health().usable(PeerId{1})) << "seed " << seed;
  }
}

TEST(UntriedPeers, StayUsableWhileOurOwnLinkIsNotUpYet) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    FleetSimulator fleet({.seed = seed}, seed);
    fleet.set_connected(false);
    fleet.add(1, 2);
    fleet.add(2, 2);
    fleet.run(3 * kSecond);
    fleet.set_connected(true);
    fleet.run(3 * kSecond, [&] { ASSERT_TRUE(fleet.health().unusable_peers().empty()) << "seed " << seed; });
  }
}

TEST_F(DrainedPeers, AreKnownToASuccessorUntilTheyAnswerIt) {
  fleet.add(4, 3);
  fleet.run(3 * kSecond);
  fleet[1].draining = true;
  fleet[3].up = false;
  fleet.run(3 * kSecond);
  const std::string text = known_peers_text({fleet.health().known(fleet.now()), {}}, 10'000);

  FleetSimulator successor{HealthOptions{.seed = 7}};
  successor.health().remember(parse_known_peers(text).peers, successor.now());
  for (unsigned id = 1; id <= 4; ++id) {
    successor.add(id, id <= 2 ? 2 : 3);
  }
  EXPECT_EQ(successor.health().unusable_peers(), (std::vector{PeerId{1}, PeerId{3}})) << "before a probe is answered";
  EXPECT_EQ(successor.mirrored_unusable, (std::set{PeerId{1}, PeerId{3}}));
  successor[3].up = false;
  successor.run(kSecond);
  EXPECT_EQ(successor.health().unusable_peers(), std::vector{PeerId{3}}) << "the first one serves again";

  // Later news of one that has answered meanwhile change nothing.
  successor.health().remember(parse_known_peers(text).peers, successor.now());
  EXPECT_EQ(successor.health().unusable_peers(), std::vector{PeerId{3}});
}

TEST_F(DrainedPeers, NewsOfThemComeIntoForceAtOnce) {
  const KnownPeer dead{.cluster = ClusterId{2}, .gateway = "gateway-1", .unreachable = true};
  fleet.health().remember(std::vector{dead}, fleet.now());
  EXPECT_EQ(unusable(), first);
  EXPECT_FALSE(fleet.health().take_changes().empty());
}

TEST(KnownPeers, AreTheSameAfterATextAndThoseOutOfUseComeFirst) {
  const KnownPeer dead{ClusterId{7}, "west-1", true, true, 10, 4, std::chrono::microseconds(900), seconds(3)};
  const KnownPeer alive{ClusterId{8}, "north 1", false, false, 0, 1, std::chrono::microseconds(1), {}};
  const KnownPeers all{
      {dead, alive},
      {{*IpAddress::parse("192.0.2.2"), Bytes{1350}, 7}, {*IpAddress::parse("fd00::2"), Bytes{1400}, 65535}}};
  const std::string text = known_peers_text(all, 1000);
  EXPECT_EQ(parse_known_peers(text), all);
  const KnownPeers but_the_last{all.peers, {all.paths[0]}};
  EXPECT_EQ(parse_known_peers(known_peers_text(all, text.size() - 1)), but_the_last);
  const KnownPeers first{{dead}, {}};
  EXPECT_EQ(parse_known_peers(known_peers_text(first, 1000)), first);
  for (const char* nothing :
       {"", "\n7 1 1\nno peers at all\n7 2 1 1 1 1 1 x\n7 1 1 1 1 -1 1 x\n", "7 1 1 1 1 1 -2 x\n7 1 1 1 1 1 1 \n",
        "path\npath 192.0.2.2 1400\npath x 1400 1\n", "paths 192.0.2.2 1400 1\npath 192.0.2.2 1400 65536\n"}) {
    EXPECT_EQ(parse_known_peers(nothing), KnownPeers{}) << nothing;
  }
}

}  // namespace
}  // namespace isthmus::test
