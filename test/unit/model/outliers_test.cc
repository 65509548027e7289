// Outliers in the tables: they take no new connections, for a time, and are found by those that are there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using Kind = OpeningOutcome::Kind;

constexpr const char* kVip = "10.200.0.10";
constexpr const char* kOtherVip = "10.200.0.11";
const std::string kAllThree = "10.2.0.1:8080* 10.2.0.2:8080* 10.2.0.3:8080*";
const std::string kWithoutFirst = "10.2.0.1:8080 10.2.0.2:8080* 10.2.0.3:8080*";

std::string text_of(const EjectionChange& change) {
  return change.service.text() + " " + change.cluster + " " + change.address.to_string() +
         (change.ejected ? " out " + std::to_string(change.failures) + " " + std::to_string(change.time.count())
                         : " in");
}

// shop/cart and shop/other with three backends in west each, the same ones; two failures eject for 20 s.
class OutlierTables : public testing::Test {
 protected:
  explicit OutlierTables(OutlierEjection rules = {2, 20, 50}) {
    f.options.outliers = rules;
    f.options.clock = [this] { return time; };
    f.model.set_listed({true, {}});
    for (const auto& [name, vip] : std::map<std::string, std::string>{{"cart", kVip}, {"other", kOtherVip}}) {
      f.service("east", global_service({vip}), name);
      f.service("west", global_service(), name);
      f.slice("west", {{"10.2.0.1"}, {"10.2.0.2"}, {"10.2.0.3"}}, 8080, name);
    }
    compile();
  }

  void compile() {
    result = f.compile();
    changes.clear();
    for (const EjectionChange& change : result.ejections) {
      changes.push_back(text_of(change));
    }
  }
  void pass(seconds how_long) {
    time += how_long;
    compile();
  }
  void hear(const std::string& backend, const std::vector<Kind>& kinds, const char* vip = kVip, bool lost = false) {
    std::vector<OpeningOutcome> openings;
    std::uint32_t client = 0;
    for (const Kind kind : kinds) {
      openings.push_back({f.frontend(vip)->service, f.backend_id(vip, backend),
                          IpAddress::ipv4(Be32::of(0x0a010000 + ++client)), kind, true});
    }
    f.compiler->note_openings(std::move(openings), lost);
    compile();
  }
  [[nodiscard]] BackendView view(const std::string& address) const {
    const std::vector<ServiceView> services = f.compiler->services();
    for (const BackendView& backend : services.at(0).ports.at(0).backends) {
      if (backend.address == ip(address)) {
        return backend;
      }
    }
    return {};
  }

  Fleet3 f;
  nanoseconds time = seconds(1'000'000'000);
  CompileResult result;
  std::vector<std::string> changes;
};

TEST_F(OutlierTables, AnOutlierTakesNoNewConnectionsForATime) {
  EXPECT_TRUE(f.frontend(kVip)->watched);
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  EXPECT_EQ(f.backends(kVip), kWithoutFirst) << "connections find it still";
  EXPECT_THAT(changes, ElementsAre("shop/cart west 10.2.0.1 out 2 20"));
  EXPECT_EQ(view("10.2.0.1").state, BackendState::kEjected);
  EXPECT_EQ(view("10.2.0.1").ejected_until, std::chrono::floor<seconds>(time) + seconds(20));
  EXPECT_EQ(view("10.2.0.2").ejected_until, std::nullopt);
  EXPECT_EQ(f.compiler->ejected_count(), 1u);
  EXPECT_EQ(result.again_after, seconds(20));
  EXPECT_EQ(f.backends(kOtherVip), kAllThree) << "another service's is not concerned";
  pass(seconds(19));
  EXPECT_EQ(f.backends(kVip), kWithoutFirst);
  EXPECT_TRUE(result.delta.upsert_frontends.empty());
  pass(seconds(1));
  EXPECT_EQ(f.backends(kVip), kAllThree);
  EXPECT_THAT(changes, ElementsAre("shop/cart west 10.2.0.1 in"));
  EXPECT_EQ(view("10.2.0.1").state, BackendState::kActive);
  EXPECT_EQ(f.compiler->ejected_count(), 0u);
  EXPECT_EQ(result.again_after, std::nullopt);
}

TEST_F(OutlierTables, WhatIsHeardCostsNothingUntilSomethingFollows) {
  hear("10.2.0.1", {Kind::kRefused, Kind::kAnswered, Kind::kSilent});
  EXPECT_TRUE(result.delta.empty());
  EXPECT_THAT(changes, IsEmpty());
}

TEST_F(OutlierTables, OneServicesOutcomesDoNotCountForAnother) {
  hear("10.2.0.1", {Kind::kRefused}, kVip);
  hear("10.2.0.1", {Kind::kRefused, Kind::kAnswered, Kind::kRefused}, kOtherVip);
  EXPECT_THAT(changes, IsEmpty());
  const OpeningOutcome foreign{f.frontend(kVip)->service, f.backend_id(kOtherVip, "10.2.0.1"), ip("10.1.0.9"),
                               Kind::kRefused, true};
  f.compiler->note_openings(std::vector<OpeningOutcome>(100, foreign), false);
  f.compiler->note_openings({{ServiceId{9999}, BackendId{1}, ip("10.1.0.9"), Kind::kRefused, true}}, false);
  compile();
  EXPECT_THAT(changes, IsEmpty());
  EXPECT_EQ(f.backends(kVip), kAllThree);
}

TEST_F(OutlierTables, LostOutcomesBeginAnew) {
  hear("10.2.0.1", {Kind::kRefused});
  hear("10.2.0.2", {Kind::kAnswered}, kVip, true);
  hear("10.2.0.1", {Kind::kRefused});
  EXPECT_THAT(changes, IsEmpty());
}

TEST_F(OutlierTables, TheLastOneOfAClusterStays) {
  f.slice("west", {{"10.2.0.1"}});
  f.slice("east", {{"10.1.0.1"}, {"10.1.0.2"}});
  compile();
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.1.0.2:8080* 10.2.0.1:8080*");
  hear("10.1.0.1", {Kind::kRefused, Kind::kRefused});
  hear("10.1.0.2", {Kind::kAnswered, Kind::kAnswered});
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080 10.1.0.2:8080* 10.2.0.1:8080*");
}

TEST_F(OutlierTables, AnOutlierIsTakenWhereNoOtherCanBe) {
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  f.slice("west", {{"10.2.0.1"}, unready("10.2.0.2"), unready("10.2.0.3")});
  compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*");
  f.slice("west", {{"10.2.0.1"}, dying("10.2.0.2")});
  compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*");
}

TEST_F(OutlierTables, OneThatIsNotReadyMeanwhileBeginsAnew) {
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  f.slice("west", {unready("10.2.0.1"), {"10.2.0.2"}, {"10.2.0.3"}});
  compile();
  EXPECT_EQ(f.compiler->ejected_count(), 0u);
  f.slice("west", {{"10.2.0.1"}, {"10.2.0.2"}, {"10.2.0.3"}});
  compile();
  EXPECT_EQ(f.backends(kVip), kAllThree);
}

TEST_F(OutlierTables, SilenceSaysNothingWhereTheClusterIsOutOfReach) {
  const PeerId west = f.peer("192.0.2.1");
  f.compiler->set_reachability({{west}, {}, {}});
  compile();
  hear("10.2.0.1", {Kind::kSilent, Kind::kUnreachable, Kind::kSilent});
  EXPECT_THAT(changes, IsEmpty());
  pass(seconds(1000));
  f.compiler->set_reachability({});
  compile();
  hear("10.2.0.1", {Kind::kSilent, Kind::kUnreachable, Kind::kSilent});
  EXPECT_THAT(changes, IsEmpty()) << "those connections were opened meanwhile";
  hear("10.2.0.2", {Kind::kRefused, Kind::kRefused});
  EXPECT_THAT(changes, ElementsAre("shop/cart west 10.2.0.2 out 2 20")) << "it answers, and refuses";
  pass(seconds(kOpeningSpan.value() + 1));  // what those clients met elsewhere is forgotten
  hear("10.2.0.1", {Kind::kSilent, Kind::kSilent});
  EXPECT_THAT(changes, ElementsAre("shop/cart west 10.2.0.1 out 2 20"));
}

TEST_F(OutlierTables, AServiceSaysItsOwnRules) {
  ServiceObject service = global_service({kVip});
  ServiceRules rules;
  rules.outlier_failures = 4;
  rules.outlier_seconds = 100;
  service.rules = rules;
  f.service("east", service);
  compile();
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  EXPECT_THAT(changes, IsEmpty());
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  EXPECT_THAT(changes, ElementsAre("shop/cart west 10.2.0.1 out 4 100"));
  rules.outlier_failures = 0;
  service.rules = rules;
  f.service("east", service);
  compile();
  EXPECT_THAT(changes, ElementsAre("shop/cart west 10.2.0.1 in"));
  EXPECT_EQ(f.backends(kVip), kAllThree);
  EXPECT_FALSE(f.frontend(kVip)->watched);
  EXPECT_TRUE(f.frontend(kOtherVip)->watched);
}

class OutlierAndSlowStart : public OutlierTables {
 protected:
  OutlierAndSlowStart() {
    ServiceObject service = global_service({kVip});
    ServiceRules rules;
    rules.slow_start = 80;
    service.rules = rules;
    f.service("east", service);
    compile();
  }
};

TEST_F(OutlierAndSlowStart, OneThatReturnsStartsSlowly) {
  hear("10.2.0.1", {Kind::kRefused, Kind::kRefused});
  EXPECT_EQ(view("10.2.0.2").percent, 100u);
  pass(seconds(20));
  EXPECT_EQ(view("10.2.0.1").percent, 11u);
  EXPECT_EQ(view("10.2.0.2").percent, 100u);
  EXPECT_LE(result.again_after, seconds(10));
  for (unsigned step = 0; step < 8; ++step) {
    pass(seconds(10));
  }
  EXPECT_EQ(view("10.2.0.1").percent, 100u);
}

class WithoutOutliers : public OutlierTables {
 protected:
  WithoutOutliers() : OutlierTables(OutlierEjection{}) {}
};

TEST_F(WithoutOutliers, NothingIsWatchedOrLeftOut) {
  EXPECT_FALSE(f.frontend(kVip)->watched);
  hear("10.2.0.1", std::vector<Kind>(100, Kind::kRefused));
  EXPECT_EQ(f.backends(kVip), kAllThree);
  EXPECT_THAT(changes, IsEmpty());
}

}  // namespace
}  // namespace isthmus
