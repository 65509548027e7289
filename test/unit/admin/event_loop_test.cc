// The control thread's loop: descriptors before timers, timers once and on time, batched work.
#include "control/loop/event_loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>
#include <thread>

namespace isthmus {
namespace {

using namespace std::chrono_literals;

class EventLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(loop_.open().ok());
    event_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT_GE(event_, 0);
  }
  void TearDown() override { ::close(event_); }
  void raise() const { ASSERT_EQ(::eventfd_write(event_, 1), 0); }
  void lower() const {
    eventfd_t value = 0;
    ASSERT_EQ(::eventfd_read(event_, &value), 0);
  }

  EventLoop loop_;
  int event_ = -1;
  std::string seen_;
};

TEST_F(EventLoopTest, ServesDescriptorsBeforeTimersThatAreAlsoDue) {
  ASSERT_TRUE(loop_
                  .watch(event_,
                         [this] {
                           lower();
                           seen_ += "event ";
                         })
                  .ok());
  const auto timer = loop_.add_timer([this] {
    seen_ += "timer";
    loop_.stop();
  });
  raise();
  loop_.set_timer(timer, EventLoop::Clock::now() - 1s);
  loop_.run();
  EXPECT_EQ(seen_, "event timer");
}

TEST_F(EventLoopTest, TimersRunOnceInOrderAndNotEarly) {
  const auto start = EventLoop::Clock::now();
  const auto late = loop_.add_timer([&] {
    seen_ += "late ";
    EXPECT_GE(EventLoop::Clock::now() - start, 20ms);
  });
  const auto early = loop_.add_timer([&] { seen_ += "early "; });
  const auto end = loop_.add_timer([&] { loop_.stop(); });
  loop_.set_timer(late, start + 20ms);
  loop_.set_timer(early, start + 5ms);
  loop_.set_timer(end, start + 40ms);
  loop_.run();
  EXPECT_EQ(seen_, "early late ");
}

TEST_F(EventLoopTest, BatchedWorkRunsOnceAtTheFirstTimeSet) {
  const auto start = EventLoop::Clock::now();
  const auto gather = loop_.add_timer([&] { seen_ += "once "; });
  const auto end = loop_.add_timer([&] { loop_.stop(); });
  loop_.set_timer_if_idle(gather, start + 5ms);
  loop_.set_timer_if_idle(gather, start + 1h);
  loop_.set_timer(end, start + 20ms);
  loop_.run();
  EXPECT_EQ(seen_, "once ");
}

TEST_F(EventLoopTest, ACancelledTimerAndAnUnwatchedDescriptorAreNotServed) {
  ASSERT_TRUE(loop_
                  .watch(event_,
                         [this] {
                           seen_ += "event ";
                           loop_.unwatch(event_);
                         })
                  .ok());
  const auto cancelled = loop_.add_timer([this] { seen_ += "cancelled "; });
  const auto end = loop_.add_timer([this] { loop_.stop(); });
  raise();
  loop_.set_timer(cancelled, EventLoop::Clock::now() + 1ms);
  loop_.cancel_timer(cancelled);
  loop_.set_timer(end, EventLoop::Clock::now() + 20ms);
  loop_.run();
  EXPECT_EQ(seen_, "event ");
}

TEST_F(EventLoopTest, ATimerMaySetItselfAndAddOthers) {
  int rounds = 0;
  EventLoop::TimerId timer = 0;
  timer = loop_.add_timer([&] {
    if (++rounds < 3) {
      loop_.set_timer(timer, EventLoop::Clock::now());
      return;
    }
    loop_.set_timer(loop_.add_timer([&] { loop_.stop(); }), EventLoop::Clock::now());
  });
  loop_.set_timer(timer, EventLoop::Clock::now());
  loop_.run();
  EXPECT_EQ(rounds, 3);
}

TEST_F(EventLoopTest, OtherThreadsHandOverWorkInOrder) {
  std::thread other([this] {
    for (int i = 0; i < 1000; ++i) {
      loop_.post([this, i] { seen_ += static_cast<char>('a' + i % 26); });
    }
    loop_.post([this] { loop_.stop(); });
  });
  loop_.run();
  other.join();
  ASSERT_EQ(seen_.size(), 1000U);
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    ASSERT_EQ(seen_[i], static_cast<char>('a' + i % 26)) << i;
  }
}

TEST_F(EventLoopTest, ABusyDescriptorHoldsUpNeitherTimersNorWorkHandedOver) {
  int turns = 0;
  ASSERT_TRUE(loop_.watch(event_, [&] { ++turns; }).ok());  // stays readable
  raise();
  loop_.set_timer(loop_.add_timer([&] { loop_.post([this] { loop_.stop(); }); }), EventLoop::Clock::now() + 5ms);
  loop_.run();
  EXPECT_GT(turns, 1);
}

TEST_F(EventLoopTest, LeavesWatchedDescriptorsOpen) {
  {
    EventLoop other;
    ASSERT_TRUE(other.open().ok());
    ASSERT_TRUE(other.watch(event_, [] {}).ok());
  }
  raise();
  lower();
}

}  // namespace
}  // namespace isthmus
