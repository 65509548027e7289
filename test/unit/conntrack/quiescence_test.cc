#include "dataplane/base/quiescence.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

TEST(Quiescence, TicketPassesOnlyAfterEveryOnlineReaderWasQuiescent) {
  Quiescence q(3);
  q.online(0);
  q.online(1);
  const auto ticket = q.advance();
  EXPECT_FALSE(q.passed(ticket));
  q.quiescent(0);
  EXPECT_FALSE(q.passed(ticket));
  q.quiescent(1);
  EXPECT_TRUE(q.passed(ticket));
}

TEST(Quiescence, SleepingReaderCountsAsPassed) {
  Quiescence q(2);
  q.online(0);
  q.online(1);
  const auto ticket = q.advance();
  q.quiescent(0);
  q.offline(1);
  EXPECT_TRUE(q.passed(ticket));
  q.online(1);
  EXPECT_TRUE(q.passed(ticket)) << "a reader that came online later cannot hold what was unlinked before";
}

TEST(Quiescence, LaterTicketNeedsALaterQuiescentPoint) {
  Quiescence q(1);
  q.online(0);
  const auto first = q.advance();
  q.quiescent(0);
  const auto second = q.advance();
  EXPECT_TRUE(q.passed(first));
  EXPECT_FALSE(q.passed(second));
}

TEST(Quiescence, ReadSectionEndsWithItsScope) {
  Quiescence q(1);
  {
    const ReadSection section(q, 0);
    EXPECT_TRUE(q.inside(0));
    EXPECT_FALSE(q.passed(q.advance()));
  }
  EXPECT_FALSE(q.inside(0));
  EXPECT_TRUE(q.passed(q.advance()));
}

// Readers follow a pointer while a writer swaps it and overwrites what it retired: no reader may see that.
TEST(Quiescence, StressNoReaderSeesFreedMemory) {
  constexpr unsigned kReaders = 4;
  constexpr int kSwaps = 2000;
  Quiescence q(kReaders);
  std::vector<std::unique_ptr<int>> kept;
  kept.push_back(std::make_unique<int>(1));
  std::atomic<int*> published{kept.back().get()};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> readers;
  for (unsigned r = 0; r < kReaders; ++r) {
    readers.emplace_back([&, r] {
      q.online(r);
      for (unsigned round = 0; !stop.load(std::memory_order_relaxed); ++round) {
        wrong += *published.load(std::memory_order_acquire) == 0 ? 1 : 0;
        if (round % 8 == 7) {
          q.offline(r);
          std::this_thread::yield();
          q.online(r);
        } else {
          q.quiescent(r);
        }
      }
      q.offline(r);
    });
  }
  for (int i = 0; i < kSwaps; ++i) {
    auto next = std::make_unique<int>(i + 2);
    published.store(next.get(), std::memory_order_release);
    const auto ticket = q.advance();
    while (!q.passed(ticket)) {
      std::this_thread::yield();
    }
    *kept.back() = 0;  // a plain write: a race with any reader is one ThreadSanitizer reports
    kept.back() = std::move(next);
  }
  stop = true;
  for (auto& t : readers) {
    t.join();
  }
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace isthmus
