// Outlier ejection: who is left out, whose failures count, how many at a time, and for how long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "control/health/outliers.h"

namespace isthmus {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using Kind = OpeningOutcome::Kind;
using Change = Outliers::Change;

constexpr OutlierEjection kRules{3, 30, 50};
constexpr std::uint16_t kEast = 1, kWest = 2;

IpAddress client(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0a010000 + n)); }
Change ejected(std::uint32_t id, unsigned failures, unsigned time) {
  return {BackendId{id}, true, failures, seconds(time)};
}
Change returned(std::uint32_t id) { return {BackendId{id}, false, 0, seconds(0)}; }

// Backends 1 to 4 are of west, 5 and 6 of east.
class OutlierCases : public testing::Test {
 protected:
  OutlierCases() { pass_over({1, 2, 3, 4, 5, 6}); }

  void pass_over(const std::vector<std::uint32_t>& ids, const OutlierEjection& rules = kRules) {
    outliers.set_rules(rules);
    changes = outliers.settle(now);
    outliers.begin();
    for (const std::uint32_t id : ids) {
      outliers.see(BackendId{id}, {ClusterId{id < 5 ? kWest : kEast}, L4Port{8080}});
    }
    outliers.end();
  }
  void hear(std::uint32_t backend, std::uint32_t from, Kind kind, bool endpoint = true) {
    outliers.note({ServiceId{1}, BackendId{backend}, client(from), kind, endpoint}, now);
  }
  // Of clients in turn.
  void fail(std::uint32_t backend, unsigned times, std::vector<std::uint32_t> clients = {1, 2}) {
    for (unsigned i = 0; i < times; ++i) {
      hear(backend, clients[i % clients.size()], Kind::kRefused);
    }
  }
  std::vector<Change> settle() {
    const bool due = outliers.due(now);
    std::vector<Change> made = outliers.settle(now);
    EXPECT_EQ(due, !made.empty()) << "due() says what settle() does";
    return made;
  }

  Outliers outliers;
  seconds now{1'000'000};
  std::vector<Change> changes;
};

TEST_F(OutlierCases, FailuresInARowEjectForATime) {
  fail(1, 2);
  EXPECT_THAT(settle(), IsEmpty());
  fail(1, 1);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30)));
  EXPECT_EQ(outliers.ejected_until(BackendId{1}), now + seconds(30));
  EXPECT_EQ(outliers.ejected_until(BackendId{2}), std::nullopt);
  EXPECT_EQ(outliers.next_return(), now + seconds(30));
  EXPECT_EQ(outliers.ejected(), 1u);
  now += seconds(29);
  EXPECT_THAT(settle(), IsEmpty());
  now += seconds(1);
  EXPECT_THAT(settle(), ElementsAre(returned(1)));
  EXPECT_EQ(outliers.ejected(), 0u);
  EXPECT_EQ(outliers.next_return(), std::nullopt);
  EXPECT_THAT(settle(), IsEmpty()) << "it begins anew";
}

TEST_F(OutlierCases, EveryKindOfFailureCounts) {
  hear(1, 1, Kind::kRefused);
  hear(1, 2, Kind::kUnreachable);
  hear(1, 1, Kind::kSilent);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30)));
}

TEST_F(OutlierCases, AnAnswerBeginsAnew) {
  for (unsigned i = 0; i < 10; ++i) {
    fail(1, 2);
    hear(1, 3, Kind::kAnswered);
  }
  EXPECT_THAT(settle(), IsEmpty());
}

TEST_F(OutlierCases, AnAnswerOfAnotherBackendDoesNot) {
  fail(1, 2);
  hear(2, 1, Kind::kAnswered);
  fail(1, 1);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30)));
}

TEST_F(OutlierCases, FailuresFarApartAreNotInARow) {
  for (unsigned i = 0; i < 10; ++i) {
    fail(1, 1, {i % 2});
    EXPECT_THAT(settle(), IsEmpty());
    now += seconds(kOpeningSpan.value() + 1);
  }
}

TEST_F(OutlierCases, OneClientEjectsNobody) {
  for (const bool others : {false, true}) {
    if (others) {
      hear(2, 2, Kind::kAnswered);
    }
    fail(1, 1000, {1});
    EXPECT_THAT(settle(), IsEmpty()) << "a service's only client, too: what is wrong may be wrong with it";
    hear(1, 1, Kind::kAnswered);
    fail(1, 1000, {1});
    EXPECT_THAT(settle(), IsEmpty());
  }
}

TEST_F(OutlierCases, OneClientContributesHalfAtMost) {
  OutlierEjection five = kRules;
  five.failures = 5;
  pass_over({1, 2, 3, 4, 5, 6}, five);
  fail(1, 1000, {1});
  fail(1, 1, {2});
  EXPECT_THAT(settle(), IsEmpty()) << "a single failure of somebody else does not do";
  fail(1, 1, {2});
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 1002, 30)));
}

TEST_F(OutlierCases, SharesOfManyClientsNeedNotBeKnown) {
  OutlierEjection many = kRules;
  many.failures = 1000;
  pass_over({1, 2, 3, 4, 5, 6}, many);
  std::vector<std::uint32_t> clients(100);
  std::iota(clients.begin(), clients.end(), 1);
  fail(1, 999, clients);
  EXPECT_THAT(settle(), IsEmpty());
  fail(1, 1, clients);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 1000, 30)));
}

// Who can send from one may be able to make up its neighbours.
TEST_F(OutlierCases, UnpublishedAddressesOfOnePrefixAreOneWitness) {
  for (std::uint32_t from = 0; from < 256; ++from) {
    hear(1, from, Kind::kSilent, false);
  }
  EXPECT_THAT(settle(), IsEmpty());
  hear(1, 256, Kind::kSilent, false);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 257, 30))) << "the next /24";
  const auto hear6 = [&](std::uint8_t network, std::uint8_t host) {
    const IpAddress from{IpAddress::ByteArray{0xfd, 0, 0, 0, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host}};
    outliers.note({ServiceId{1}, BackendId{2}, from, Kind::kSilent, false}, now);
  };
  for (std::uint8_t host = 1; host < 200; ++host) {
    hear6(1, host);
  }
  EXPECT_THAT(settle(), IsEmpty());
  hear6(2, 1);
  EXPECT_THAT(settle(), ElementsAre(ejected(2, 200, 30))) << "the next /64";
}

// Policy at their backends, or the network, keeps them from all.
TEST_F(OutlierCases, ClientsThatFailEverywhereAreNotBelieved) {
  for (const std::uint32_t backend : {1, 2, 3, 4, 5, 6}) {
    fail(backend, 100, {1, 2, 3});
  }
  EXPECT_THAT(settle(), IsEmpty());
  hear(6, 1, Kind::kAnswered);
  EXPECT_THAT(settle(), IsEmpty()) << "one of them is not";
  hear(6, 2, Kind::kAnswered);
  EXPECT_THAT(settle(), testing::Contains(ejected(1, 100, 30))) << "two that another backend has answered";
}

TEST_F(OutlierCases, AnswersOfLongAgoExcuseNobody) {
  const auto fail_at_two = [&] {
    fail(1, 2);
    fail(2, 2);
  };
  fail_at_two();
  hear(6, 1, Kind::kAnswered);
  hear(6, 2, Kind::kAnswered);
  now += seconds(100);
  fail_at_two();
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 4, 30), ejected(2, 4, 30)));
  now += seconds(30);
  EXPECT_THAT(settle(), ElementsAre(returned(1), returned(2)));
  fail_at_two();
  fail_at_two();
  EXPECT_THAT(settle(), IsEmpty()) << "that was more than kOpeningSpan ago";
}

TEST_F(OutlierCases, AShareOfAClustersBackendsIsLeftOutAtMost) {
  for (const std::uint32_t backend : {1, 2, 3, 4, 5}) {
    fail(backend, 3);
  }
  for (const std::uint32_t from : {1, 2}) {
    hear(6, from, Kind::kAnswered);
  }
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30), ejected(2, 3, 30), ejected(5, 3, 30)))
      << "two of west's four, one of east's two";
  now += seconds(30);
  EXPECT_THAT(settle(), ElementsAre(returned(1), returned(2), returned(5), ejected(3, 3, 30), ejected(4, 3, 30)))
      << "those that were not";
}

TEST_F(OutlierCases, TheLastOneIsNeverLeftOut) {
  OutlierEjection all = kRules;
  all.max_percent = 100;
  pass_over({1, 2, 5}, all);
  for (const std::uint32_t backend : {1, 2, 5}) {
    fail(backend, 5, {1, 2});
  }
  pass_over({1, 2, 5, 6}, all);
  for (const std::uint32_t from : {1, 2}) {
    hear(6, from, Kind::kAnswered);
  }
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 5, 30), ejected(5, 5, 30))) << "2 is west's last, 6 is east's other";
}

TEST_F(OutlierCases, OneMayBeLeftOutHoweverSmallTheShare) {
  OutlierEjection few = kRules;
  few.max_percent = 1;
  pass_over({1, 2, 3, 4, 5, 6}, few);
  fail(1, 3, {1, 2});
  fail(2, 3, {3, 4});
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30)));
}

TEST_F(OutlierCases, OnesThatAreTooManyReturnWhenOthersGo) {
  fail(1, 3, {1, 2});
  fail(2, 3, {3, 4});
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30), ejected(2, 3, 30)));
  pass_over({1, 2, 3});
  EXPECT_LE(outliers.next_return(), now) << "at once";
  EXPECT_THAT(settle(), ElementsAre(returned(1)));
  EXPECT_EQ(outliers.next_return(), now + seconds(30));
  pass_over({2});
  EXPECT_THAT(settle(), ElementsAre(returned(2)));
}

TEST_F(OutlierCases, TheTimeGrowsWithEachEjectionInARowAndIsBounded) {
  const auto again = [&](unsigned time) {
    fail(1, 3);
    EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, time)));
    now += seconds(time);
    EXPECT_THAT(settle(), ElementsAre(returned(1)));
  };
  for (const unsigned time : {30, 60, 120, 240, 480, 480, 480}) {
    again(time);
  }
  hear(1, 1, Kind::kAnswered);
  again(30);

  OutlierEjection long_ones = kRules;
  long_ones.seconds = 1000;
  pass_over({1, 2, 3, 4}, long_ones);
  hear(1, 1, Kind::kAnswered);
  for (const unsigned time : {1000, 2000, 3600, 3600}) {
    again(time);
  }
}

TEST_F(OutlierCases, WhatWasOpenedBeforeAnEjectionDoesNotProlongIt) {
  fail(1, 3);
  (void)settle();
  fail(1, 100);
  hear(1, 1, Kind::kAnswered);
  now += seconds(30);
  EXPECT_THAT(settle(), ElementsAre(returned(1)));
  fail(1, 3);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 60))) << "that answer was not after its return";
}

TEST_F(OutlierCases, BackendsThatGoAreForgotten) {
  fail(1, 3, {1, 2});
  (void)settle();
  fail(2, 2, {1, 2});
  pass_over({3, 4});
  EXPECT_EQ(outliers.ejected(), 0u);
  EXPECT_EQ(outliers.cluster_of(BackendId{1}), kNoCluster);
  pass_over({1, 2, 3, 4});
  EXPECT_THAT(changes, IsEmpty());
  fail(2, 1, {1});
  EXPECT_THAT(settle(), IsEmpty());
  hear(77, 1, Kind::kRefused);  // never known
  EXPECT_THAT(settle(), IsEmpty());
}

TEST_F(OutlierCases, PortsThatShareABackendCountItOnce) {
  outliers.begin();
  for (const std::uint32_t id : {1, 1, 1, 2}) {
    outliers.see(BackendId{id}, {ClusterId{kWest}, L4Port{8080}});
  }
  outliers.end();
  fail(1, 3, {1, 2});
  fail(2, 3, {3, 4});
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30)));
}

// However backends come, go, change their pool, and the rules change.
TEST_F(OutlierCases, WhoIsEjectedIsCountedThroughAllChanges) {
  std::uint32_t random = 12345;
  const auto below = [&](std::uint32_t limit) {
    random = random * 1664525 + 1013904223;
    return (random >> 16) % limit;
  };
  for (unsigned turn = 0; turn < 300; ++turn) {
    const unsigned percent = 1 + below(100);
    outliers.set_rules({2, 1 + below(20), percent});
    (void)outliers.settle(now);
    std::map<unsigned, std::size_t> members, left_out;
    std::vector<std::uint32_t> present;
    outliers.begin();
    for (std::uint32_t id = 1; id <= 200; ++id) {
      if (below(10) == 0) {
        continue;
      }
      const unsigned pool = id % 3 + (id < 20 ? turn % 2 : 0);  // some of them change pools
      outliers.see(BackendId{id}, {ClusterId{static_cast<std::uint16_t>(pool)}, L4Port{80}});
      present.push_back(id);
      ++members[pool];
    }
    outliers.end();
    const bool all_fail = turn % 10 == 9;
    for (const std::uint32_t id : present) {
      if (all_fail || below(10) == 0) {
        fail(id, 2);
      }
    }
    outliers.note({ServiceId{1}, BackendId{present.back()}, client(1), Kind::kAnswered, true}, now);
    outliers.note({ServiceId{1}, BackendId{present.back()}, client(2), Kind::kAnswered, true}, now);
    (void)outliers.settle(now);
    for (const std::uint32_t id : present) {
      left_out[outliers.cluster_of(BackendId{id}).value()] += outliers.ejected_until(BackendId{id}) ? 1 : 0;
    }
    std::size_t total = 0;
    for (const auto& [pool, count] : left_out) {
      const std::size_t all = members[pool];
      const std::size_t allowed = std::min(std::max<std::size_t>(all * percent / 100, 1), all - 1);
      ASSERT_LE(count, allowed);
      ASSERT_TRUE(!all_fail || count + 1 >= allowed) << count << " of " << allowed << ", and one was answered";
      total += count;
    }
    ASSERT_EQ(total, outliers.ejected());
    now += seconds(below(10));
  }
}

TEST_F(OutlierCases, WithoutRulesNothingIsKeptAndAllReturn) {
  fail(1, 3);
  (void)settle();
  pass_over({1, 2, 3, 4}, {});
  EXPECT_THAT(changes, ElementsAre(returned(1)));
  fail(1, 100);
  EXPECT_THAT(settle(), IsEmpty());
  EXPECT_FALSE(outliers.on());
  EXPECT_EQ(outliers.cluster_of(BackendId{1}), kNoCluster);
}

TEST_F(OutlierCases, WhereOutcomesWereLostCountsBeginAnew) {
  fail(1, 2);
  outliers.begin_anew();
  fail(1, 2);
  EXPECT_THAT(settle(), IsEmpty());
  fail(1, 1);
  EXPECT_THAT(settle(), ElementsAre(ejected(1, 3, 30)));
}

// Nobody's clients push out what is known of others so far that they would be believed.
TEST_F(OutlierCases, ClientsWithoutEndAreRememberedToALimitAndEjectNobody) {
  for (std::uint32_t n = 0; n < 100'000; ++n) {
    hear(1 + n % 6, n, Kind::kAnswered);
    hear(1 + n % 6, 1'000'000, Kind::kSilent);
  }
  EXPECT_THAT(settle(), IsEmpty());
  for (std::uint32_t n = 0; n < 20; ++n) {  // clients that fail everywhere do not displace who is believed
    fail(1, 1, {n});
    fail(2, 1, {n});
  }
  EXPECT_THAT(settle(), IsEmpty());
  fail(1, 3, {500, 501});
  EXPECT_THAT(settle(), ElementsAre(testing::AllOf(testing::Field(&Change::backend, BackendId{1}),
                                                   testing::Field(&Change::ejected, true))));
}

}  // namespace
}  // namespace isthmus
