// Slow start: which backends are new, how their part of the new connections rises, and what does not move meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::ElementsAre;

constexpr const char* kVip = "10.200.0.10";
constexpr std::uint32_t kSlots = 16381;

// A service of east and west, compiled once with the backends east has; the window is 80 s, a step 10 s.
class SlowStarts : public testing::Test {
 protected:
  explicit SlowStarts(seconds window = seconds(80)) {
    f.options.ring_slots = kSlots;
    f.options.slow_start = window;
    f.options.clock = [this] { return time; };
    f.model.set_listed({true, {}});
    f.service("east", global_service({kVip}));
    f.service("west", global_service());
  }

  void east(const std::vector<EndpointSpec>& pods, std::uint16_t weight = 100) {
    f.slice("east", pods, 8080, "cart", weight);
    result = f.compile();
  }
  void pass(seconds how_long) {
    time += how_long;
    result = f.compile();
  }
  // Of the VIP's new connections that this backend gets, in percent of what each would get if all got the same.
  [[nodiscard]] double part(const std::string& address) const {
    const BackendSet& set = *f.frontend(kVip)->backends;
    const auto slots = std::count_if(set.ring.begin(), set.ring.end(),
                                     [&](std::uint16_t index) { return set.backends[index].address == ip(address); });
    return 100.0 * static_cast<double>(slots) * static_cast<double>(set.backends.size()) / kSlots;
  }
  [[nodiscard]] std::vector<unsigned> percents() const {
    std::vector<unsigned> percents;
    for (const BackendView& backend : f.compiler->services().at(0).ports.at(0).backends) {
      percents.push_back(backend.percent);
    }
    return percents;
  }

  Fleet3 f;
  nanoseconds time = seconds(1'000'000'005);  // half a step after one
  CompileResult result;
};

TEST_F(SlowStarts, ABackendThatAppearsBesideOthersGetsMoreStepByStep) {
  east({{"10.1.0.1"}});
  EXPECT_EQ(result.again_after, std::nullopt);
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  double before = 0;
  for (unsigned level = 1; level <= 8; ++level) {
    const double share = level / 9.0;
    EXPECT_NEAR(part("10.1.0.2"), 200 * share / (1 + share), 2) << level;
    EXPECT_GT(part("10.1.0.2"), before);
    EXPECT_THAT(percents(), ElementsAre(100, level * 100 / 9));
    EXPECT_EQ(result.again_after, level == 1 ? seconds(5) : seconds(10)) << "at whole steps of the clock";
    before = part("10.1.0.2");
    pass(level == 1 ? seconds(5) : seconds(10));
  }
  EXPECT_NEAR(part("10.1.0.2"), 100, 1);
  EXPECT_THAT(percents(), ElementsAre(100, 100));
  EXPECT_EQ(result.again_after, std::nullopt);
}

TEST_F(SlowStarts, NothingIsPublishedBetweenSteps) {
  east({{"10.1.0.1"}});
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  pass(seconds(4));
  EXPECT_TRUE(result.delta.upsert_frontends.empty());
  EXPECT_EQ(result.again_after, seconds(1));
  pass(seconds(1));
  EXPECT_EQ(result.delta.upsert_frontends.size(), 1u);
}

TEST_F(SlowStarts, BackendsThatAppearTogetherAreNotSlowed) {
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  f.service("east", global_service({"10.200.0.11"}), "other");
  f.slice("east", {{"10.1.0.3"}, {"10.1.0.4"}}, 8080, "other");
  result = f.compile();
  const BackendSet& set = *f.frontend("10.200.0.11")->backends;
  const auto first = std::count(set.ring.begin(), set.ring.end(), 0);
  EXPECT_NEAR(static_cast<double>(first), kSlots / 2.0, 50) << "a service that is new as a whole";
  east({});
  east({{"10.1.0.5"}, {"10.1.0.6"}});
  EXPECT_NEAR(part("10.1.0.5"), 100, 1) << "one that was without any";
  EXPECT_THAT(percents(), ElementsAre(100, 100));
}

TEST_F(SlowStarts, OneThatWasNotReadyIsNewAgain) {
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  EXPECT_NEAR(part("10.1.0.2"), 100, 1) << "what is there at the start is not new";
  east({{"10.1.0.1"}, unready("10.1.0.2")});
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  EXPECT_NEAR(part("10.1.0.2"), 20, 1);
}

TEST_F(SlowStarts, WhatHubsSayForTheFirstTimeIsNotNew) {
  f.model.set_listed({false, {}});
  east({{"10.1.0.1"}});
  f.slice("west", {{"10.2.0.1"}});
  f.model.set_listed({true, {}});  // with what comes at last
  result = f.compile();
  EXPECT_NEAR(part("10.2.0.1"), 100, 1);
  EXPECT_EQ(result.again_after, std::nullopt);
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  EXPECT_LT(part("10.1.0.2"), 25);
}

TEST_F(SlowStarts, AClusterThatWasOutOfReachIsNotNew) {
  f.slice("west", {{"10.2.0.1"}});
  east({{"10.1.0.1"}});
  const PeerId west = f.peer("192.0.2.1");
  f.compiler->set_reachability({{west}, {ClusterId{2}}, {}});
  result = f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080*") << "its backends are removed";
  f.compiler->set_reachability({});
  result = f.compile();
  EXPECT_NEAR(part("10.2.0.1"), 100, 1);
}

TEST_F(SlowStarts, AWeightThatReturnsIsNotNew) {
  f.slice("west", {{"10.2.0.1"}});
  east({{"10.1.0.1"}}, 0);
  east({{"10.1.0.1"}}, 100);
  EXPECT_NEAR(part("10.1.0.1"), 100, 1);
}

TEST_F(SlowStarts, GatewaysThatLearnOfItBetweenTwoStepsAgree) {
  east({{"10.1.0.1"}});
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  Fleet3 other;
  other.options = f.options;
  other.model.set_listed({true, {}});
  other.service("east", global_service({kVip}));
  other.slice("east", {{"10.1.0.1"}});
  other.compile();
  time += seconds(4);
  other.slice("east", {{"10.1.0.1"}, {"10.1.0.2"}});
  other.compile();
  for (unsigned step = 0; step < 9; ++step) {
    EXPECT_EQ(other.frontend(kVip)->backends->ring, f.frontend(kVip)->backends->ring) << step;
    pass(seconds(10));
    other.compile();
  }
}

TEST_F(SlowStarts, BackendsStayWhereTheyAreInTheList) {
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  east({{"10.1.0.1"}, {"10.1.0.2"}, {"10.1.0.3"}});
  const auto before = f.frontend(kVip)->backends;
  pass(seconds(5));
  const auto after = f.frontend(kVip)->backends;
  EXPECT_EQ(before->backends, after->backends) << "connections find theirs";
  unsigned moved = 0;
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
    moved += before->ring[slot] != after->ring[slot] ? 1 : 0;
  }
  EXPECT_LT(moved, kSlots / 8) << "a step moves little more than what the backend gets";
}

TEST_F(SlowStarts, SmallWeightsAreLoweredToo) {
  east({{"10.1.0.1"}}, 1);
  east({{"10.1.0.1"}, {"10.1.0.2"}}, 1);
  EXPECT_NEAR(part("10.1.0.2"), 20, 1);
}

TEST_F(SlowStarts, AServiceSaysItsOwnWindow) {
  ServiceRules rules;
  rules.slow_start = 8;  // steps of a second
  ServiceObject service = global_service({kVip});
  service.rules = rules;
  f.service("east", service);
  east({{"10.1.0.1"}});
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  EXPECT_EQ(result.again_after, seconds(1));
  pass(seconds(8));
  EXPECT_NEAR(part("10.1.0.2"), 100, 1);
  rules.slow_start = 0;
  service.rules = rules;
  f.service("east", service);
  east({{"10.1.0.1"}, {"10.1.0.2"}, {"10.1.0.3"}});
  EXPECT_NEAR(part("10.1.0.3"), 100, 1) << "none";
}

class WithoutSlowStart : public SlowStarts {
 protected:
  WithoutSlowStart() : SlowStarts(seconds(0)) {}
};

TEST_F(WithoutSlowStart, ANewBackendGetsItsShareAtOnce) {
  east({{"10.1.0.1"}});
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  EXPECT_NEAR(part("10.1.0.2"), 100, 1);
  EXPECT_EQ(result.again_after, std::nullopt);
}

TEST_F(WithoutSlowStart, WhatIsThereWhenItIsTurnedOnIsNotNew) {
  east({{"10.1.0.1"}});
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  ServiceObject service = global_service({kVip});
  ServiceRules rules;
  rules.slow_start = 80;
  service.rules = rules;
  f.service("east", service);
  east({{"10.1.0.1"}});
  EXPECT_THAT(percents(), ElementsAre(100));
  east({{"10.1.0.1"}, {"10.1.0.2"}});
  EXPECT_LT(part("10.1.0.2"), 50) << "the same step";
  EXPECT_EQ(result.again_after, seconds(5));
}

// --- the rule of lowering weights

std::vector<unsigned> lowered(std::vector<unsigned> weights, std::vector<unsigned> levels) {
  std::vector<MaglevBackend> ring;
  for (const unsigned weight : weights) {
    ring.push_back({ip("10.1.0.1"), L4Port{80}, IpProtocol::kTcp, static_cast<std::uint16_t>(weight)});
  }
  SlowStart::lower(ring, levels, 9);
  std::vector<unsigned> result;
  for (const MaglevBackend& backend : ring) {
    result.push_back(backend.weight);
  }
  return result;
}

TEST(LowerWeights, KeepsTheirProportions) {
  EXPECT_THAT(lowered({100, 100}, {9, 3}), ElementsAre(100, 33));
  EXPECT_THAT(lowered({100, 100}, {3, 3}), ElementsAre(100, 100)) << "all alike";
  EXPECT_THAT(lowered({1, 2}, {1, 9}), ElementsAre(1, 18)) << "raised by nine";
  EXPECT_THAT(lowered({1, 30000}, {1, 9}), ElementsAre(1, 60000)) << "as far as a weight can be raised";
  EXPECT_THAT(lowered({1, 65535}, {1, 9}), ElementsAre(1, 65535)) << "never none";
}

}  // namespace
}  // namespace isthmus
