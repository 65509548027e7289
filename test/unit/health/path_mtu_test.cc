// What is learned of the paths of the underlay, in simulated time.
#include "control/health/path_mtu.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

namespace isthmus {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr PeerId kPeer{7};
const IpAddress kAt = *IpAddress::parse("192.0.2.2");

// A path that loses what is longer than it carries, without a word.
class Underlay {
 public:
  explicit Underlay(Bytes device = Bytes{1500}, PathMtuOptions options = {})
      : device_(device), paths_(options, [this](const SizedProbe& probe) {
          ++sent;
          const bool chance = lose_every != 0 && sent % lose_every == 0;
          if (answers && probe.bytes.value() <= (probe.way % 2 == 0 ? carries : std::min(carries, odd)) && !chance) {
            answers_.push_back({now + round_trip, probe.sequence});
          }
          return true;
        }) {
    set_peers();
  }

  void set_peers() {
    const PathMtuPeer peers[] = {{kPeer, kAt, device_}};
    paths_.set_peers(peers, now);
  }
  void set_device(Bytes device) {
    device_ = device;
    set_peers();
  }
  void remember(const std::vector<KnownPath>& known) { paths_.remember(known, now); }
  [[nodiscard]] std::vector<KnownPath> known() const { return paths_.known(); }
  void claim(std::uint32_t mtu, PeerId peer = kPeer, std::uint16_t way = 0) {
    paths_.claim({peer, Bytes{mtu}, kAt, way}, device_, now);
  }
  void pass(std::chrono::nanoseconds time) {
    const HealthTime end = now + time;
    while (true) {
      const HealthTime due = paths_.next_due();
      const HealthTime answer = answers_.empty() ? HealthTime::max() : answers_.front().first;
      if (std::min(due, answer) > end) {
        break;
      }
      now = std::max(now, std::min(due, answer));
      if (answer <= due) {
        paths_.answer(kPeer, answers_.front().second, now);
        answers_.pop_front();
      } else {
        paths_.tick(now);
      }
      for (const PathMtu& change : paths_.take_changes()) {
        told[change.peer] = change.mtu.value();
        changes.push_back(change.mtu.value());
      }
    }
    now = end;
    for (const PathMtu& change : paths_.take_changes()) {
      told[change.peer] = change.mtu.value();
    }
  }
  // What the engine would let out.
  [[nodiscard]] std::uint32_t effective() { return told[kPeer] == 0 ? device_.value() : told[kPeer]; }
  [[nodiscard]] PathMtuView view() const { return paths_.views().at(kPeer); }

  HealthTime now{seconds(1000)};
  std::uint32_t carries = 65535, odd = 65535;  // all ways; those of an odd number
  bool answers = true;
  std::uint64_t lose_every = 0, sent = 0;
  milliseconds round_trip{20};
  std::map<PeerId, std::uint32_t> told;
  std::vector<std::uint32_t> changes;

 private:
  Bytes device_;
  std::deque<std::pair<HealthTime, std::uint32_t>> answers_;
  PathMtus paths_;
};

TEST(PathMtus, APathThatCarriesAllCostsTheProbesOfItsChecks) {
  Underlay underlay;
  underlay.pass(minutes(10));
  EXPECT_EQ(underlay.effective(), 1500u);
  EXPECT_TRUE(underlay.changes.empty());
  EXPECT_LT(underlay.sent, 80u * PathMtus::kWays);
  EXPECT_EQ(underlay.view().source, PathMtuSource::kDevice);
}

TEST(PathMtus, ASilentBlackHoleIsFoundToTheByteAndUnfound) {
  for (const auto& [device, carries] : {std::pair{1500u, 1400u},
                                        {1500u, 1280u},
                                        {1500u, 1499u},
                                        {1500u, 552u},
                                        {9000u, 1280u},
                                        {9000u, 8999u},
                                        {3826u, 1500u}}) {
    Underlay underlay{Bytes{device}};
    underlay.pass(seconds(30));
    underlay.carries = carries;
    underlay.pass(seconds(18));  // until the next check, and the search
    EXPECT_EQ(underlay.effective(), carries) << device;
    EXPECT_EQ(underlay.view().source, PathMtuSource::kProbes);
    underlay.pass(minutes(2));
    EXPECT_EQ(underlay.effective(), carries) << "it stands";
    underlay.carries = device;
    underlay.pass(seconds(18));
    EXPECT_EQ(underlay.effective(), device) << carries;
    EXPECT_EQ(underlay.view().source, PathMtuSource::kDevice);
  }
}

TEST(PathMtus, ALastingBlackHoleIsToldFromALossThatARouterReports) {
  Underlay underlay;
  underlay.pass(seconds(30));
  underlay.carries = 1400;
  for (int times = 0; times < 400 && underlay.effective() != 1400; ++times) {
    underlay.pass(milliseconds(50));
  }
  EXPECT_EQ(underlay.view().source, PathMtuSource::kProbes);
  EXPECT_FALSE(underlay.view().black_hole) << "one search finds what may pass by";
  underlay.pass(seconds(30));
  EXPECT_TRUE(underlay.view().black_hole);
  underlay.claim(1450);
  underlay.pass(seconds(30));
  EXPECT_TRUE(underlay.view().black_hole) << "of what is lost nobody has spoken";
  underlay.claim(1400);
  EXPECT_FALSE(underlay.view().black_hole) << "now a router has";
  underlay.pass(minutes(9));
  EXPECT_FALSE(underlay.view().black_hole);
  underlay.pass(minutes(2));
  EXPECT_TRUE(underlay.view().black_hole) << "it says no more";
  underlay.carries = 1500;
  underlay.pass(seconds(18));
  EXPECT_EQ(underlay.view().source, PathMtuSource::kDevice);
  EXPECT_FALSE(underlay.view().black_hole) << "unfound";
}

TEST(PathMtus, APathOfWhichARouterSpokeFirstIsNoBlackHole) {
  Underlay underlay;
  underlay.pass(seconds(30));
  underlay.carries = 1400;
  for (int times = 0; times < 60; ++times) {  // as each search makes it speak
    underlay.claim(1400);
    underlay.pass(seconds(10));
    EXPECT_FALSE(underlay.view().black_hole) << times;
  }
  EXPECT_EQ(underlay.effective(), 1400u);
}

TEST(PathMtus, ABlackHoleFromTheBeginningIsFound) {
  Underlay underlay;
  underlay.carries = 1400;
  underlay.pass(seconds(12));
  EXPECT_EQ(underlay.effective(), 1400u);
}

TEST(PathMtus, APathThatCarriesMoreButNotAllIsFoundToo) {
  Underlay underlay;
  underlay.carries = 1300;
  underlay.pass(seconds(20));
  ASSERT_EQ(underlay.effective(), 1300u);
  underlay.carries = 1450;
  underlay.pass(seconds(20));
  EXPECT_EQ(underlay.effective(), 1450u);
}

TEST(PathMtus, LossByChanceChangesNothing) {
  for (const std::uint64_t every : {2u, 3u, 5u, 7u, 10u}) {
    Underlay underlay;
    underlay.lose_every = every;
    underlay.pass(minutes(20));
    EXPECT_EQ(underlay.effective(), 1500u) << "one lost in " << every;
  }
}

TEST(PathMtus, APeerThatAnswersNothingChangesNothing) {
  Underlay never;
  never.answers = false;
  never.pass(minutes(10));
  EXPECT_EQ(never.effective(), 1500u);
  EXPECT_LT(never.sent, 80u * (PathMtus::kWays + 1)) << "one more a check";
  Underlay dies;
  dies.pass(seconds(30));
  dies.answers = false;
  dies.pass(minutes(10));
  EXPECT_EQ(dies.effective(), 1500u);
  EXPECT_TRUE(dies.changes.empty());
}

TEST(PathMtus, ARoutersClaimIsConfirmedWithinSeconds) {
  Underlay underlay;
  underlay.pass(seconds(30));
  underlay.carries = 1380;
  underlay.claim(1380);
  EXPECT_EQ(underlay.effective(), 1500u) << "not on its word";
  underlay.pass(seconds(2));
  EXPECT_EQ(underlay.effective(), 1380u);
}

TEST(PathMtus, AForgedClaimChangesNothing) {
  Underlay underlay;
  underlay.pass(seconds(30));
  for (int i = 0; i < 50; ++i) {
    underlay.claim(600);
    underlay.pass(milliseconds(300));
  }
  EXPECT_EQ(underlay.effective(), 1500u);
  EXPECT_TRUE(underlay.changes.empty());
}

TEST(PathMtus, AClaimAboutAPeerThatAnswersNothingIsTakenForAWhile) {
  Underlay underlay;
  underlay.answers = false;
  underlay.pass(seconds(30));
  underlay.claim(1400);
  underlay.pass(seconds(1));
  EXPECT_EQ(underlay.effective(), 1400u);
  EXPECT_EQ(underlay.view().source, PathMtuSource::kClaim);
  underlay.claim(1450);
  underlay.claim(100);
  underlay.pass(seconds(1));
  EXPECT_EQ(underlay.effective(), 1400u) << "no more than is known, and no less than any path carries";
  underlay.pass(PathMtus::kClaimHold);
  EXPECT_EQ(underlay.effective(), 1500u);
}

TEST(PathMtus, AClaimAboutAPeerThatIsNotProbedIsTakenForAWhile) {
  constexpr PeerId kNode{99};
  Underlay underlay;
  underlay.claim(1400, kNode);
  underlay.pass(seconds(1));
  EXPECT_EQ(underlay.told[kNode], 1400u);
  underlay.set_peers();
  underlay.pass(PathMtus::kClaimHold - seconds(2));
  EXPECT_EQ(underlay.told[kNode], 1400u);
  underlay.pass(seconds(2));
  EXPECT_EQ(underlay.told[kNode], 0u);
}

// Of equal ways of the underlay one is broken: every second flow would be lost.
TEST(PathMtus, ABlackHoleOnOneOfSeveralWaysIsFoundAndUnfound) {
  Underlay underlay;
  underlay.pass(seconds(30));
  underlay.odd = 1400;
  underlay.pass(minutes(1));
  EXPECT_EQ(underlay.effective(), 1400u);
  const std::size_t changes = underlay.changes.size();
  underlay.pass(minutes(30));
  EXPECT_EQ(underlay.changes.size(), changes) << "the way that carries more changes nothing";
  underlay.odd = 65535;
  underlay.pass(seconds(18));
  EXPECT_EQ(underlay.effective(), 1500u);
}

TEST(PathMtus, OfTwoNarrowWaysTheNarrowerCounts) {
  Underlay underlay;
  underlay.carries = 1450;
  underlay.odd = 1380;
  underlay.pass(minutes(2));
  EXPECT_EQ(underlay.effective(), 1380u);
  underlay.odd = 65535;
  underlay.pass(minutes(2));
  EXPECT_EQ(underlay.effective(), 1450u);
}

TEST(PathMtus, AClaimIsAskedForByTheWayThatItIsAbout) {
  Underlay underlay(Bytes{1500}, {.interval = minutes(30)});
  underlay.pass(seconds(30));
  underlay.odd = 1400;
  underlay.claim(1400, kPeer, 7);
  underlay.pass(seconds(10));
  EXPECT_EQ(underlay.effective(), 1400u);
}

TEST(PathMtus, AnotherProcessBeginsWithWhatWasFound) {
  Underlay before;
  before.carries = 1400;
  before.pass(seconds(30));
  const std::vector<KnownPath> known = before.known();
  ASSERT_EQ(known.size(), 1u);
  EXPECT_EQ(known[0].underlay, kAt);
  EXPECT_EQ(known[0].mtu, Bytes{1400});
  for (const std::uint32_t carries : {1400u, 1300u, 1500u}) {
    Underlay after;
    after.carries = carries;
    after.remember(known);
    after.pass(seconds(0));
    EXPECT_EQ(after.effective(), 1400u) << "from the first packet on";
    EXPECT_EQ(after.view().source, PathMtuSource::kProbes);
    after.pass(seconds(18));
    EXPECT_EQ(after.effective(), carries) << "it is checked";
  }
}

TEST(PathMtus, WhatWasFoundElsewhereGivesWayToWhatIsFoundHereAndToWhatThereIs) {
  Underlay answered;
  answered.carries = 1450;
  answered.pass(seconds(18));
  answered.remember({{kAt, Bytes{1400}, 0}});
  answered.pass(seconds(0));
  EXPECT_EQ(answered.effective(), 1450u);
  for (const std::uint32_t useless : {1500u, 9000u, 551u, 0u}) {
    Underlay fresh;
    fresh.remember({{kAt, Bytes{useless}, 0}});
    fresh.pass(seconds(1));
    EXPECT_EQ(fresh.effective(), 1500u) << useless;
  }
}

TEST(PathMtus, ADeviceWithAnotherMtuBeginsAnew) {
  Underlay underlay;
  underlay.carries = 1400;
  underlay.pass(seconds(30));
  ASSERT_EQ(underlay.effective(), 1400u);
  underlay.set_peers();
  underlay.pass(seconds(0));
  EXPECT_EQ(underlay.effective(), 1400u) << "the same list changes nothing";
  underlay.set_device(Bytes{1300});
  underlay.pass(seconds(30));
  EXPECT_EQ(underlay.told[kPeer], 0u);
  underlay.set_device(Bytes{3000});
  underlay.pass(seconds(30));
  EXPECT_EQ(underlay.effective(), 1400u);
}

TEST(PathMtus, NothingIsProbedWhereTheIntervalIsZero) {
  Underlay underlay{Bytes{1500}, {seconds(0), 1}};
  underlay.carries = 1400;
  underlay.pass(minutes(5));
  EXPECT_EQ(underlay.sent, 0u);
  underlay.claim(1400);
  underlay.pass(seconds(1));
  EXPECT_EQ(underlay.effective(), 1400u);
}

}  // namespace
}  // namespace isthmus
