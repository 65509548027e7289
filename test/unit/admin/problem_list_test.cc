// Problems are logged when they appear and when they are resolved, not in between.
#include "control/daemon/problem_list.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace isthmus {
namespace {

class ProblemListTest : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = spdlog::default_logger();
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_));
    logger->set_pattern("%l %v");
    spdlog::set_default_logger(logger);
  }
  void TearDown() override { spdlog::set_default_logger(before_); }
  std::string take_log() {
    std::string text = log_.str();
    log_.str("");
    return text;
  }

  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
  ProblemList problems_;
  const Error first_{"what", "file:1", "fix"}, second_{"other", "file:2", ""};
};

TEST_F(ProblemListTest, LogsOnceWhenAProblemAppearsAndOnceWhenItIsResolved) {
  problems_.set("hub", {first_});
  EXPECT_EQ(take_log(), "warning file:1: what (fix)\n");
  problems_.set("hub", {first_});
  EXPECT_EQ(take_log(), "");
  problems_.set("hub", {first_, second_});
  EXPECT_EQ(take_log(), "warning file:2: other\n");
  problems_.set("hub", {second_});
  EXPECT_EQ(take_log(), "warning resolved: file:1: what (fix)\n");
  problems_.set("hub", {});
  EXPECT_EQ(take_log(), "warning resolved: file:2: other\n");
  EXPECT_EQ(problems_.size(), 0u);
}

TEST_F(ProblemListTest, PartsDoNotResolveEachOthersProblems) {
  problems_.set("hub", {first_});
  problems_.set_status("routes", second_);
  problems_.set("hub", {});
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_EQ(problems_.rows().front().where, "file:2");
  problems_.set_status("routes", Ok{});
  EXPECT_TRUE(problems_.rows().empty());
}

TEST_F(ProblemListTest, TheSameProblemTwiceIsOne) {
  problems_.set("hub", {first_, first_});
  EXPECT_EQ(problems_.size(), 1u);
  EXPECT_EQ(take_log(), "warning file:1: what (fix)\n");
}

}  // namespace
}  // namespace isthmus
