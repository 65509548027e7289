// Properties that must hold in any fleet, checked over many random ones. A failure prints its seed.
#include <gtest/gtest.h>

#include "test/unit/health/fleet_simulator.h"

namespace isthmus::test {
namespace {

constexpr std::uint64_t kSeeds = 100;
constexpr unsigned kPeers = 7;

class RandomFleet {
 public:
  explicit RandomFleet(std::uint64_t seed) : random(seed), options(make_options()), fleet(options, seed) {
    for (unsigned id = 1; id <= kPeers; ++id) {
      fleet.add(id, 1 + below(4));
      fleet[id].delay = milliseconds(1 + below(100));
    }
  }
  unsigned below(unsigned limit) { return static_cast<unsigned>(random() % limit); }
  HealthOptions make_options() {
    return {.cluster = ClusterId{1},
            .misses = 2 + below(4),
            .recover = 1 + below(6),
            .penalty_cap = 1U << below(6),
            .seed = random()};
  }

  std::mt19937_64 random;
  HealthOptions options;
  FleetSimulator fleet;
};

// The state is consistent, and the reported changes add up to it.
void expect_consistent(FleetSimulator& fleet, const HealthOptions& options) {
  const auto unreachable = fleet.health().unreachable_peers();
  ASSERT_EQ(std::set<PeerId>(unreachable.begin(), unreachable.end()), fleet.mirrored_peers);
  std::map<ClusterId, bool> clusters;
  for (const auto& [id, peer] : fleet.peers()) {
    bool& all = clusters.try_emplace(peer.peer.cluster, true).first->second;
    all = all && !fleet.health().usable(id);
  }
  std::set<ClusterId> expected, reported;
  for (const auto& [cluster, all] : clusters) {
    if (all && cluster != options.cluster) {
      expected.insert(cluster);
    }
  }
  for (const UnreachableCluster& cluster : fleet.health().unreachable_clusters()) {
    reported.insert(cluster.cluster);
    ASSERT_EQ(cluster.ejected, fleet.now() - cluster.since >= options.hold);
  }
  ASSERT_EQ(reported, expected);
  std::set<PeerId> unusable;
  for (const auto& [id, peer] : fleet.peers()) {
    if (!fleet.health().usable(id)) {
      unusable.insert(id);
    }
  }
  ASSERT_EQ(unusable, fleet.mirrored_unusable) << "changed without a word";
  ASSERT_EQ(reported, fleet.mirrored_clusters);
  ASSERT_EQ(fleet.health().isolated(), fleet.mirrored_isolation);
  ASSERT_GT(fleet.health().next_due(), fleet.now());
}

TEST(HealthProperty, ReportedChangesAlwaysAddUpToTheState) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomFleet test(seed);
    FleetSimulator& fleet = test.fleet;
    for (int event = 0; event < 40 && !testing::Test::HasFatalFailure(); ++event) {
      const unsigned id = 1 + test.below(kPeers);
      const bool present = fleet.peers().contains(PeerId{id});
      switch (test.below(8)) {
        case 0:
          fleet.set_connected(test.below(3) != 0);
          break;
        case 1:
          fleet.stall(milliseconds(test.below(2000)));
          break;
        case 2:
          present ? fleet.remove(id) : fleet.add(id, 1 + test.below(4));
          break;
        case 3:
        case 4:
          if (present) {
            fleet[id].loss = test.below(2) == 0 ? 0 : 0.1 * test.below(10);
          }
          break;
        case 5:
          if (present) {
            fleet[id].draining = test.below(2) == 0;
          }
          break;
        default:
          if (present) {
            fleet[id].up = test.below(2) == 0;
          }
      }
      fleet.run(milliseconds(test.below(4000)), [&] { expect_consistent(fleet, test.options); });
    }
    ASSERT_FALSE(testing::Test::HasFatalFailure());
  }
}

TEST(HealthProperty, APeerGoesDownOnlyAfterEnoughMissesAndRecoversOnlyAfterEnoughAnswers) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomFleet test(seed);
    FleetSimulator& fleet = test.fleet;
    std::size_t failures = 0, recoveries = 0;
    const auto last_probes_were = [&fleet](PeerId id, std::size_t count, bool answered, std::size_t skip) {
      const auto& probes = fleet.peers().at(id).probes;
      ASSERT_GE(probes.size(), count);
      // The last probes may still be in flight: up to `skip` of them are ignored.
      for (std::size_t start = 0; start <= skip && start + count <= probes.size(); ++start) {
        const auto from = probes.rbegin() + static_cast<std::ptrdiff_t>(start);
        if (std::all_of(from, from + static_cast<std::ptrdiff_t>(count),
                        [answered](const auto& probe) { return probe.second == answered; })) {
          return;
        }
      }
      FAIL() << "peer " << id.value() << " changed without " << count << (answered ? " answers" : " misses");
    };
    for (int event = 0; event < 40; ++event) {
      SimulatedPeer& peer = fleet[1 + test.below(kPeers)];
      peer.up = test.below(3) != 0;
      peer.loss = 0.1 * test.below(6);
      fleet.run(milliseconds(test.below(3000)), [&] {
        for (; failures < fleet.failures.size(); ++failures) {
          const PeerId id = fleet.failures[failures].second;
          const auto has_answered = [](const auto& probe) { return probe.second; };
          const bool shown = std::any_of(fleet.peers().begin(), fleet.peers().end(), [&](const auto& each) {
            const SimulatedPeer& other = each.second;
            return other.peer.cluster == fleet.peers().at(id).peer.cluster &&
                   std::any_of(other.probes.begin(), other.probes.end(), has_answered);
          });
          ASSERT_TRUE(shown) << "went down, and no gateway of its cluster has ever answered";
          last_probes_were(id, test.options.misses, false, 2);
        }
        for (; recoveries < fleet.recoveries.size(); ++recoveries) {
          last_probes_were(fleet.recoveries[recoveries].second, test.options.recover, true, 2);
        }
      });
      ASSERT_FALSE(testing::Test::HasFatalFailure());
    }
  }
}

TEST(HealthProperty, APeerThatAlwaysAnswersNeverGoesDownWhateverTheOthersDo) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomFleet test(seed);
    FleetSimulator& fleet = test.fleet;
    for (int event = 0; event < 40; ++event) {
      SimulatedPeer& peer = fleet[2 + test.below(kPeers - 1)];
      peer.up = test.below(2) == 0;
      peer.loss = 0.1 * test.below(10);
      if (test.below(6) == 0) {
        fleet.stall(milliseconds(test.below(3000)));
      }
      fleet.run(milliseconds(test.below(3000)));
    }
    for (const auto& [when, id] : fleet.failures) {
      ASSERT_NE(id, PeerId{1});
    }
    ASSERT_FALSE(fleet.health().isolated());
  }
}

TEST(HealthProperty, NoPeerGoesDownWhileOurOwnLinkIsCut) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomFleet test(seed);
    FleetSimulator& fleet = test.fleet;
    std::set<ClusterId> clusters;
    for (const auto& [id, peer] : fleet.peers()) {
      clusters.insert(peer.peer.cluster);
    }
    if (clusters.size() < 2) {
      continue;
    }
    fleet.run(seconds(2));
    for (int cut = 0; cut < 10; ++cut) {
      fleet.set_connected(false);
      fleet.run(milliseconds(test.below(5000)));
      fleet.set_connected(true);
      fleet.run(milliseconds(1000 + test.below(2000)));
    }
    ASSERT_TRUE(fleet.failures.empty());
    ASSERT_FALSE(fleet.health().isolated());
  }
}

TEST(HealthProperty, ADeadPeerGoesDownWithinASecondAndFlappingIsDamped) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    FleetSimulator fleet({.seed = seed}, seed);
    for (unsigned id = 1; id <= 4; ++id) {
      fleet.add(id, id);
      fleet[id].delay = milliseconds(1 + static_cast<int>(random() % 100));
    }
    fleet.run(seconds(2));
    // 120 s of 1 s dead, 1.5 s alive: without a penalty it would recover each time.
    std::size_t missed = 0;
    for (int round = 0; round < 48; ++round) {
      fleet[2].up = false;
      fleet.run(seconds(1));
      missed += fleet.health().usable(PeerId{2}) ? 1U : 0U;
      fleet[2].up = true;
      fleet.run(milliseconds(1500));
    }
    EXPECT_EQ(missed, 0U);
    EXPECT_LE(fleet.recoveries.size(), 2U);
    fleet.run(seconds(50));
    EXPECT_TRUE(fleet.health().usable(PeerId{2}));
  }
}

}  // namespace
}  // namespace isthmus::test
