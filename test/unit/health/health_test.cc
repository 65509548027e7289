#include "control/health/health.h"

#include <gtest/gtest.h>

#include "test/unit/health/fleet_simulator.h"

namespace isthmus::test {
namespace {

PeerState state(FleetSimulator& fleet, unsigned id) {
  for (const PeerHealth& peer : fleet.health().peers()) {
    if (peer.peer.id == PeerId{id}) {
      return peer.state;
    }
  }
  ADD_FAILURE() << "no peer " << id;
  return PeerState::kUntried;
}

TEST(Health, PeersThatAnswerAreAlive) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  EXPECT_EQ(state(fleet, 1), PeerState::kUntried);
  EXPECT_TRUE(fleet.health().usable(PeerId{1}));
  fleet.run(10 * kSecond);
  EXPECT_EQ(state(fleet, 1), PeerState::kAlive);
  EXPECT_EQ(state(fleet, 2), PeerState::kAlive);
  EXPECT_TRUE(fleet.failures.empty());
  EXPECT_FALSE(fleet.health().isolated());
  EXPECT_EQ(fleet.health().peers()[0].round_trip, milliseconds(1));
}

TEST(Health, ADeadPeerAndItsClusterAreUnreachableWithinASecond) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    FleetSimulator fleet({.seed = seed}, seed);
    fleet.add(1, 2);
    fleet.add(2, 3);
    fleet.add(3, 3);
    fleet.run(3 * kSecond + milliseconds(7 * static_cast<int>(seed)));
    const HealthTime died = fleet.now();
    fleet[2].up = fleet[3].up = false;
    fleet.run(kSecond);
    ASSERT_EQ(fleet.health().unreachable_peers(), (std::vector{PeerId{2}, PeerId{3}})) << "seed " << seed;
    ASSERT_EQ(fleet.health().unreachable_clusters().size(), 1U);
    EXPECT_EQ(fleet.health().unreachable_clusters()[0].cluster, ClusterId{3});
    EXPECT_LT(fleet.health().unreachable_clusters()[0].since - died, milliseconds(850)) << "seed " << seed;
    EXPECT_FALSE(fleet.health().usable(PeerId{2}));
    EXPECT_TRUE(fleet.health().usable(PeerId{1}));
    EXPECT_FALSE(fleet.health().isolated());
  }
}

TEST(Health, AClusterIsReachableWhileOneOfItsGatewaysAnswersOrIsUntried) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.add(3, 3);
  fleet.run(3 * kSecond);
  fleet[2].up = false;
  fleet.run(3 * kSecond);
  EXPECT_EQ(fleet.health().unreachable_peers(), std::vector{PeerId{2}});
  EXPECT_TRUE(fleet.health().unreachable_clusters().empty());
  fleet.add(4, 3);
  fleet[4].up = false;
  fleet[3].up = false;
  fleet.run(3 * kSecond);
  EXPECT_EQ(fleet.health().unreachable_peers().size(), 2U);
  EXPECT_TRUE(fleet.health().unreachable_clusters().empty());
}

TEST(Health, APeerThatNeverAnsweredStaysUntriedAndUsable) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet[2].up = false;
  fleet.run(60 * kSecond);
  EXPECT_EQ(state(fleet, 2), PeerState::kUntried);
  EXPECT_TRUE(fleet.health().usable(PeerId{2}));
  fleet[2].up = true;
  fleet.run(kSecond);
  EXPECT_EQ(state(fleet, 2), PeerState::kAlive);
}

TEST(Health, WhenAllPeersStopAnsweringTogetherTheGatewayIsIsolated) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    FleetSimulator fleet({.seed = seed}, seed);
    fleet.add(1, 2);
    fleet.add(2, 3);
    fleet.add(3, 4);
    fleet[3].delay = milliseconds(280);
    fleet.run(3 * kSecond + milliseconds(11 * static_cast<int>(seed)));
    fleet.set_connected(false);
    fleet.run(kSecond + milliseconds(300));
    EXPECT_TRUE(fleet.health().isolated()) << "seed " << seed;
    EXPECT_TRUE(fleet.mirrored_isolation);
    fleet.run(30 * kSecond);
    EXPECT_EQ(state(fleet, 1), PeerState::kSuspect);
    fleet.set_connected(true);
    fleet.run(2 * kSecond);
    EXPECT_FALSE(fleet.health().isolated());
    EXPECT_FALSE(fleet.mirrored_isolation);
    EXPECT_TRUE(fleet.failures.empty()) << "seed " << seed;
    EXPECT_EQ(state(fleet, 1), PeerState::kAlive);
  }
}

TEST(Health, APeerThatStaysDownAfterIsolationIsUnreachable) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.add(3, 4);
  fleet.run(3 * kSecond);
  fleet.set_connected(false);
  fleet.run(5 * kSecond);
  ASSERT_TRUE(fleet.health().isolated());
  fleet[2].up = false;
  fleet.set_connected(true);
  fleet.run(2 * kSecond);
  EXPECT_EQ(fleet.health().unreachable_peers(), std::vector{PeerId{2}});
  EXPECT_FALSE(fleet.health().isolated());
}

TEST(Health, ThatItWasIsolatedIsRememberedForATime) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  const auto within = [&](HealthTime::duration span) { return fleet.health().isolated_within(span, fleet.now()); };
  fleet.run(100 * kSecond);
  EXPECT_FALSE(within(1000 * kSecond)) << "it never was";
  for (unsigned outage = 0; outage < 2; ++outage) {
    fleet.set_connected(false);
    fleet.run(100 * kSecond);
    EXPECT_TRUE(within(0 * kSecond));
    fleet.set_connected(true);
    fleet.run(30 * kSecond);
    ASSERT_FALSE(fleet.health().isolated());
    EXPECT_TRUE(within(60 * kSecond)) << "for 30 s it has not been";
    EXPECT_FALSE(within(20 * kSecond));
    fleet.run(40 * kSecond);
    EXPECT_FALSE(within(60 * kSecond));
  }
}

TEST(Health, APeerUnreachableBeforeIsolationStaysUnreachable) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.add(3, 4);
  fleet.run(3 * kSecond);
  fleet[1].up = false;
  fleet.run(2 * kSecond);
  fleet.set_connected(false);
  fleet.run(2 * kSecond);
  EXPECT_TRUE(fleet.health().isolated());
  EXPECT_EQ(fleet.health().unreachable_peers(), std::vector{PeerId{1}});
}

TEST(Health, TheOnlyOtherClusterBecomesUnreachableWithoutConfirmation) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 2);
  fleet.run(3 * kSecond);
  fleet[1].up = fleet[2].up = false;
  fleet.run(kSecond);
  EXPECT_EQ(fleet.health().unreachable_clusters().size(), 1U);
  EXPECT_FALSE(fleet.health().isolated());
}

TEST(Health, AGatewayOfOurOwnClusterConfirmsButOurClusterIsNeverUnreachable) {
  const ClusterId own{1};
  FleetSimulator fleet({.cluster = own});
  fleet.add(1, 1);
  fleet.add(2, 2);
  fleet.run(3 * kSecond);
  fleet.set_connected(false);
  fleet.run(2 * kSecond);
  EXPECT_TRUE(fleet.health().isolated());
  fleet.set_connected(true);
  fleet.run(2 * kSecond);
  fleet[1].up = false;
  fleet.run(2 * kSecond);
  EXPECT_EQ(fleet.health().unreachable_peers(), std::vector{PeerId{1}});
  EXPECT_TRUE(fleet.health().unreachable_clusters().empty());
}

TEST(Health, RecoveryTakesTwiceAsManyAnswersAfterEachFailureUpToACap) {
  const HealthOptions options{.recover = 5, .penalty_cap = 8};
  FleetSimulator fleet(options);
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.run(3 * kSecond);
  for (const unsigned needed : {5U, 10U, 20U, 40U, 40U}) {
    fleet[2].up = false;
    fleet.run(2 * kSecond);
    ASSERT_EQ(fleet.health().unreachable_peers(), std::vector{PeerId{2}});
    EXPECT_EQ(fleet.health().peers()[1].answers_needed, needed);
    fleet[2].up = true;
    fleet[2].probes.clear();
    const std::size_t recovered = fleet.recoveries.size();
    std::size_t took = 0;
    fleet.run(30 * kSecond, [&] {
      if (took == 0 && fleet.recoveries.size() > recovered) {
        took = fleet[2].probes.size();
      }
    });
    EXPECT_EQ(took, needed);
    EXPECT_TRUE(fleet.health().usable(PeerId{2}));
  }
  // The penalty decays by half after each quiet period.
  fleet.run(options.penalty_decay * 4);
  fleet[2].up = false;
  fleet.run(2 * kSecond);
  EXPECT_EQ(fleet.health().peers()[1].answers_needed, 5U);
}

TEST(Health, AMissedAnswerRestartsTheRecoveryCount) {
  FleetSimulator fleet({.recover = 4});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.run(3 * kSecond);
  fleet[2].up = false;
  fleet.run(2 * kSecond);
  ASSERT_FALSE(fleet.health().usable(PeerId{2}));
  // Three answers, a miss, and so on: never four in a row.
  for (int round = 0; round < 20; ++round) {
    for (const bool up : {true, true, true, false}) {
      fleet[2].up = up;
      const std::size_t before = fleet[2].probes.size();
      while (fleet[2].probes.size() == before) {
        fleet.run(milliseconds(5));
      }
    }
    ASSERT_FALSE(fleet.health().usable(PeerId{2}));
  }
}

// Collects the probes in a list, for the test to answer by hand.
class ManualAnswers {
 public:
  explicit ManualAnswers(const HealthOptions& options)
      : health(options, [this](PeerId id, std::uint32_t sequence, bool) {
          sent[id].push_back(sequence);
          return true;
        }) {
    health.set_peers(std::vector<HealthPeer>{{PeerId{1}, ClusterId{2}, "west-1"}, {PeerId{2}, ClusterId{3}, "north-1"}},
                     now);
  }
  // Advances to the next probe of peer 2; peer 1 always answers.
  void step() {
    const std::size_t before = sent[PeerId{2}].size();
    while (sent[PeerId{2}].size() == before) {
      now = health.next_due();
      health.tick(now);
      health.answer(PeerId{1}, sent[PeerId{1}].empty() ? 0 : sent[PeerId{1}].back(), false, now + milliseconds(1));
    }
  }
  HealthTime now{seconds(50)};
  std::map<PeerId, std::vector<std::uint32_t>> sent;
  Health health;
};

TEST(Health, LateRepeatedAndUnknownAnswersAreIgnored) {
  ManualAnswers test({.misses = 4, .recover = 2});
  test.step();
  const std::uint32_t first = test.sent[PeerId{2}].back();
  test.health.answer(PeerId{2}, first + 1, false, test.now);  // not sent yet
  test.health.answer(PeerId{9}, first, false, test.now);      // unknown peer
  EXPECT_EQ(test.health.peers()[1].state, PeerState::kUntried);
  test.health.answer(PeerId{2}, first, false, test.now);
  EXPECT_EQ(test.health.peers()[1].state, PeerState::kAlive);
  for (int i = 0; i < 7; ++i) {
    test.step();
    test.health.answer(PeerId{2}, first, false, test.now);  // the same answer again
  }
  ASSERT_FALSE(test.health.usable(PeerId{2}));
  EXPECT_GE(test.health.peers()[1].late_answers, 7U);
  // Answers to old probes do not make it recover ...
  const std::vector<std::uint32_t> old = test.sent[PeerId{2}];
  for (int i = 0; i < 4; ++i) {
    test.step();
  }
  for (const std::uint32_t sequence : old) {
    test.health.answer(PeerId{2}, sequence, false, test.now);
  }
  EXPECT_FALSE(test.health.usable(PeerId{2}));
  EXPECT_EQ(test.health.peers()[1].answers_needed, 2U);
  // ... nor do two that are not consecutive, nor a repeated one; two in a row do.
  test.step();
  test.health.answer(PeerId{2}, test.sent[PeerId{2}].back(), false, test.now);
  test.health.answer(PeerId{2}, test.sent[PeerId{2}].back(), false, test.now);
  EXPECT_FALSE(test.health.usable(PeerId{2}));
  test.step();
  test.step();
  test.health.answer(PeerId{2}, test.sent[PeerId{2}].back(), false, test.now);
  EXPECT_FALSE(test.health.usable(PeerId{2}));
  test.step();
  test.health.answer(PeerId{2}, test.sent[PeerId{2}].back(), false, test.now);
  EXPECT_TRUE(test.health.usable(PeerId{2}));
}

TEST(Health, PeersWithRoundTripsLongerThanTheIntervalAreAlive) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet[2].delay = milliseconds(430);
  fleet.run(60 * kSecond);
  EXPECT_EQ(state(fleet, 2), PeerState::kAlive);
  EXPECT_TRUE(fleet.failures.empty());
}

TEST(Health, AProbeThatWasNotSentIsNotMissed) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.run(3 * kSecond);
  fleet.set_sends(false);
  const std::uint64_t sent = fleet.probes_sent;
  fleet.run(60 * kSecond);
  EXPECT_EQ(fleet.probes_sent, sent);
  EXPECT_EQ(state(fleet, 1), PeerState::kAlive);
  EXPECT_EQ(fleet.health().peers()[0].missed, 0U);
  EXPECT_FALSE(fleet.health().isolated());
  fleet.set_sends(true);
  fleet[1].up = false;
  fleet.run(2 * kSecond);
  EXPECT_FALSE(fleet.health().usable(PeerId{1}));
  EXPECT_TRUE(fleet.health().usable(PeerId{2}));
}

TEST(Health, OurOwnStallsTakeNoPeerDown) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    FleetSimulator fleet({.seed = seed}, seed);
    fleet.add(1, 2);
    fleet.add(2, 3);
    fleet.run(3 * kSecond);
    for (int i = 0; i < 40; ++i) {
      fleet.stall(milliseconds(200 + static_cast<int>(seed) * 60));
      fleet.run(milliseconds(40 * i % 700));
    }
    EXPECT_TRUE(fleet.failures.empty()) << "seed " << seed;
    EXPECT_FALSE(fleet.health().isolated());
  }
}

TEST(Health, AClusterIsEjectedAfterTheHoldTime) {
  FleetSimulator fleet({.hold = seconds(4)});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.run(3 * kSecond);
  fleet[2].up = false;
  fleet.run(4 * kSecond);
  ASSERT_EQ(fleet.health().unreachable_clusters().size(), 1U);
  EXPECT_FALSE(fleet.health().unreachable_clusters()[0].ejected);
  fleet.run(kSecond);
  EXPECT_TRUE(fleet.health().unreachable_clusters()[0].ejected);
  fleet[2].up = true;
  fleet.run(2 * kSecond);
  EXPECT_TRUE(fleet.health().unreachable_clusters().empty());
}

TEST(Health, AChangedPeerIsNewAndARemovedOneIsForgotten) {
  FleetSimulator fleet({});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet.run(3 * kSecond);
  fleet[2].up = false;
  fleet.run(2 * kSecond);
  ASSERT_FALSE(fleet.health().usable(PeerId{2}));
  fleet.add(3, 4);  // the others keep their state
  EXPECT_FALSE(fleet.health().usable(PeerId{2}));
  fleet.add(2, 5);  // the same id in another cluster
  EXPECT_EQ(state(fleet, 2), PeerState::kUntried);
  EXPECT_TRUE(fleet.health().usable(PeerId{2}));
  EXPECT_TRUE(fleet.health().unreachable_clusters().empty());
  EXPECT_TRUE(fleet.mirrored_clusters.empty());
  fleet.remove(2);
  fleet.remove(1);
  fleet.remove(3);
  EXPECT_TRUE(fleet.health().peers().empty());
  EXPECT_EQ(fleet.health().next_due(), HealthTime::max());
}

TEST(Health, GatewaysDoNotProbeInLockstep) {
  FleetSimulator one({.seed = 1}, 1);
  FleetSimulator other({.seed = 2}, 2);
  std::set<HealthTime> times;
  std::size_t together = 0;
  for (FleetSimulator* fleet : {&one, &other}) {
    fleet->add(1, 2);
    std::uint64_t seen = 0;
    fleet->run(30 * kSecond, [&] {
      if (fleet->probes_sent != seen) {
        seen = fleet->probes_sent;
        together += times.insert(fleet->now()).second ? 0 : 1;
      }
    });
    EXPECT_NEAR(static_cast<double>(fleet->probes_sent), 200, 10);
  }
  EXPECT_LT(together, 3U);
}

TEST(Health, OptionsOutOfRangeAreClamped) {
  FleetSimulator fleet({.interval = nanoseconds(0), .misses = 0, .recover = 0, .penalty_cap = 0});
  fleet.add(1, 2);
  fleet.add(2, 3);
  fleet[1].delay = fleet[2].delay = nanoseconds(1000);
  fleet.run(milliseconds(100));
  EXPECT_LE(fleet.probes_sent, 300U);
  fleet[2].up = false;
  fleet.run(milliseconds(100));
  EXPECT_FALSE(fleet.health().usable(PeerId{2}));
  fleet[2].up = true;
  fleet.run(milliseconds(100));
  EXPECT_TRUE(fleet.health().usable(PeerId{2}));
}

}  // namespace
}  // namespace isthmus::test
