// What must hold in every fleet, over many random ones. A failure prints its seed.
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

// The state agrees with itself, and the changes with the state.
void expect_consistent(FleetSimulator& fleet, const HealthOptions& options) {
  const auto silent = fleet.health().silent_peers();
  ASSERT_EQ(std::set<PeerId>(silent.begin(), silent.end()), fleet.mirrored_peers);
  std::map<ClusterId, bool> clusters;
  for (const auto& [id, peer] : fleet.peers()) {
    bool& all = clusters.try_emplace(peer.peer.cluster, true).first->second;
    all = all && !fleet.health().usable(id);
  }
  std::set<ClusterId> expected, told;
  for (const auto& [cluster, all] : clusters) {
    if (all && cluster != options.cluster) {
      expected.insert(cluster);
    }
  }
  for (const SilentCluster& cluster : fleet.health().silent_clusters()) {
    told.insert(cluster.cluster);
    ASSERT_EQ(cluster.held_out, fleet.now() - cluster.since >= options.hold);
  }
  ASSERT_EQ(told, expected);
  ASSERT_EQ(told, fleet.mirrored_clusters);
  ASSERT_EQ(fleet.health().isolated(), fleet.mirrored_isolation);
  ASSERT_GT(fleet.health().next_due(), fleet.now());
}

TEST(HealthProperty, ChangesAndStateAgreeWhateverHappens) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomFleet test(seed);
    FleetSimulator& fleet = test.fleet;
    for (int event = 0; event < 40 && !testing::Test::HasFatalFailure(); ++event) {
      const unsigned id = 1 + test.below(kPeers);
      const bool there = fleet.peers().contains(PeerId{id});
      switch (test.below(8)) {
        case 0:
          fleet.set_connected(test.below(3) != 0);
          break;
        case 1:
          fleet.stall(milliseconds(test.below(2000)));
          break;
        case 2:
          there ? fleet.remove(id) : fleet.add(id, 1 + test.below(4));
          break;
        case 3:
        case 4:
          if (there) {
            fleet[id].loss = test.below(2) == 0 ? 0 : 0.1 * test.below(10);
          }
          break;
        default:
          if (there) {
            fleet[id].up = test.below(2) == 0;
          }
      }
      fleet.run(milliseconds(test.below(4000)), [&] { expect_consistent(fleet, test.options); });
    }
    ASSERT_FALSE(testing::Test::HasFatalFailure());
  }
}

TEST(HealthProperty, OnlyWhoMissedEnoughFallsAndOnlyWhoAnsweredEnoughReturns) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomFleet test(seed);
    FleetSimulator& fleet = test.fleet;
    std::size_t falls = 0, returns = 0;
    const auto last_probes_were = [&fleet](PeerId id, std::size_t count, bool answered, std::size_t skip) {
      const auto& probes = fleet.peers().at(id).probes;
      ASSERT_GE(probes.size(), count);
      // Those still on their way say nothing: up to `skip` may stand behind.
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
        for (; falls < fleet.falls.size(); ++falls) {
          const PeerId id = fleet.falls[falls].second;
          const auto& probes = fleet.peers().at(id).probes;
          ASSERT_TRUE(std::any_of(probes.begin(), probes.end(), [](const auto& probe) { return probe.second; }))
              << "fell without ever having answered";
          last_probes_were(id, test.options.misses, false, 2);
        }
        for (; returns < fleet.returns.size(); ++returns) {
          last_probes_were(fleet.returns[returns].second, test.options.recover, true, 2);
        }
      });
      ASSERT_FALSE(testing::Test::HasFatalFailure());
    }
  }
}

TEST(HealthProperty, AFaultlessPeerNeverFallsWhateverTheOthersDo) {
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
    for (const auto& [when, id] : fleet.falls) {
      ASSERT_NE(id, PeerId{1});
    }
    ASSERT_FALSE(fleet.health().isolated());
  }
}

TEST(HealthProperty, NobodyFallsBecauseWeWereCutOffFromAll) {
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
    ASSERT_TRUE(fleet.falls.empty());
    ASSERT_FALSE(fleet.health().isolated());
  }
}

TEST(HealthProperty, WhoDiesFallsWithinASecondAndFlappingGrowsRare) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    FleetSimulator fleet({.seed = seed}, seed);
    for (unsigned id = 1; id <= 4; ++id) {
      fleet.add(id, id);
      fleet[id].delay = milliseconds(1 + static_cast<int>(random() % 100));
    }
    fleet.run(seconds(2));
    // 120 s of 1 s dead, 1.5 s alive: without a penalty it would return each time.
    std::size_t missed = 0;
    for (int round = 0; round < 48; ++round) {
      fleet[2].up = false;
      fleet.run(seconds(1));
      missed += fleet.health().usable(PeerId{2}) ? 1U : 0U;
      fleet[2].up = true;
      fleet.run(milliseconds(1500));
    }
    EXPECT_EQ(missed, 0U);
    EXPECT_LE(fleet.returns.size(), 2U);
    fleet.run(seconds(50));
    EXPECT_TRUE(fleet.health().usable(PeerId{2}));
  }
}

}  // namespace
}  // namespace isthmus::test
