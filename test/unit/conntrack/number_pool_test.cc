#include "dataplane/conntrack/number_pool.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace isthmus {
namespace {

constexpr WorkerId kW0{0};
constexpr WorkerId kW1{1};

std::vector<bool> none_used(std::uint32_t count) { return std::vector<bool>(std::size_t{count} + 1); }

TEST(NumberPool, AllocatesEveryNumberOnceLowOnesFirst) {
  Quiescence q(1);
  NumberPool pool(1000, 1, q, none_used(1000));
  for (std::uint32_t expected = 1; expected <= 1000; ++expected) {
    EXPECT_EQ(pool.allocate(kW0), expected);
  }
  EXPECT_EQ(pool.allocate(kW0), 0u);
}

TEST(NumberPool, UsedNumbersAreNotAllocated) {
  Quiescence q(1);
  auto used = none_used(10);
  used[1] = used[4] = used[10] = true;
  NumberPool pool(10, 1, q, used);
  std::set<std::uint32_t> got;
  while (const std::uint32_t n = pool.allocate(kW0)) {
    got.insert(n);
  }
  EXPECT_EQ(got, (std::set<std::uint32_t>{2, 3, 5, 6, 7, 8, 9}));
}

TEST(NumberPool, ReleasedNumbersAreAvailableToOtherWorkers) {
  Quiescence q(2);
  NumberPool pool(1000, 2, q, none_used(1000));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_NE(pool.allocate(kW0), 0u);
  }
  ASSERT_EQ(pool.allocate(kW1), 0u);
  for (std::uint32_t n = 1; n <= 1000; ++n) {
    pool.release(kW0, n);
  }
  unsigned got = 0;
  while (pool.allocate(kW1) != 0) {
    ++got;
  }
  EXPECT_GE(got, 1000u - 128) << "only a small cache stays with the releasing worker";
}

TEST(NumberPool, RetiredNumberWaitsForEveryReader) {
  Quiescence q(2);
  NumberPool pool(1, 1, q, none_used(1));
  q.online(0);
  q.online(1);
  ASSERT_EQ(pool.allocate(kW0), 1u);
  pool.retire(kW0, 1);
  pool.collect(kW0);
  q.quiescent(0);
  pool.collect(kW0);
  EXPECT_EQ(pool.allocate(kW0), 0u) << "reader 1 may still hold it";
  q.quiescent(1);
  EXPECT_EQ(pool.allocate(kW0), 1u);
}

TEST(NumberPool, NumberRetiredDuringAGracePeriodNeedsAnotherOne) {
  Quiescence q(1);
  NumberPool pool(2, 1, q, none_used(2));
  q.online(0);
  const std::uint32_t a = pool.allocate(kW0);
  const std::uint32_t b = pool.allocate(kW0);
  pool.retire(kW0, a);
  pool.collect(kW0);
  pool.retire(kW0, b);
  q.quiescent(0);
  pool.collect(kW0);  // frees a, starts the grace period of b
  EXPECT_EQ(pool.allocate(kW0), a);
  EXPECT_EQ(pool.allocate(kW0), 0u);
  q.quiescent(0);
  EXPECT_EQ(pool.allocate(kW0), b);
}

}  // namespace
}  // namespace isthmus
