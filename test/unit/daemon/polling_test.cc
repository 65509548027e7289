// Which workers have stopped polling, and what the service manager's watchdog asks for.
#include "control/daemon/polling.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "control/daemon/service_manager.h"

namespace isthmus {
namespace {

using Workers = std::vector<std::size_t>;

TEST(Polling, NamesWorkersThatHaveNotPolledSinceTheLastLook) {
  Polling polling;
  EXPECT_EQ(polling.standing({5, 7}), Workers{});
  EXPECT_EQ(polling.standing({6, 8}), Workers{});
  EXPECT_EQ(polling.standing({7, 8}), Workers{1});
  EXPECT_EQ(polling.standing({7, 8}), (Workers{0, 1}));
  EXPECT_EQ(polling.standing({8, 9}), Workers{});
}

TEST(Polling, DoesNotCompareWorkersOfTwoEngines) {
  Polling polling;
  EXPECT_EQ(polling.standing({5}), Workers{});
  polling.forget();
  EXPECT_EQ(polling.standing({5}), Workers{});
  EXPECT_EQ(polling.standing({5}), Workers{0});
}

TEST(Polling, IsAProblemThatNamesTheWorkers) {
  EXPECT_FALSE(polling_problem({}).has_value());
  const auto problem = polling_problem({0, 3});
  ASSERT_TRUE(problem.has_value());
  EXPECT_NE(problem->what.find("0, 3"), std::string::npos) << problem->what;
}

class WatchdogTime : public testing::Test {
 protected:
  void TearDown() override {
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
  }
};

TEST_F(WatchdogTime, IsThatOfTheServiceManagerForThisProcess) {
  EXPECT_FALSE(watchdog_time().has_value());
  setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(watchdog_time(), std::chrono::seconds(30));
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(watchdog_time(), std::chrono::seconds(30));
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(watchdog_time().has_value());
}

TEST_F(WatchdogTime, IsInheritedFromTheProcessInFront) {
  setenv("WATCHDOG_USEC", "1000000", 1);
  setenv("WATCHDOG_PID", "4711", 1);
  inherit_watchdog(4712);
  EXPECT_FALSE(watchdog_time().has_value());
  inherit_watchdog(4711);
  EXPECT_EQ(watchdog_time(), std::chrono::seconds(1));
}

TEST_F(WatchdogTime, TakesNoOtherTextForANumber) {
  for (const char* text : {"", "0", "-5", "3s", "99999999999999999999"}) {
    setenv("WATCHDOG_USEC", text, 1);
    EXPECT_FALSE(watchdog_time().has_value()) << text;
  }
}

}  // namespace
}  // namespace isthmus
