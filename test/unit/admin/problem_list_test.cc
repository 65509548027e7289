// Problems are logged when they appear and when they are resolved, not in between.
#include "control/daemon/problem_list.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
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
  ProblemList::Clock::time_point now_ = ProblemList::Clock::now();
  ProblemList problems_{[this] { return now_; }};
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

TEST_F(ProblemListTest, AreListedAsGivenAndThoseOfHubsFirst) {
  const Error cause{"prefixes overlap", "fleet/south.yaml:1", "fix"},
      effect{"a pod is left out", "clusters/a:1", "fix"};
  const Error third{"a pod is left out", "clusters/b:1", "fix"}, unread{"not read", "z.yaml:1", "fix"};
  const auto listed = [this] {
    std::string all;
    for (const ProblemRow& row : problems_.rows()) {
      all += row.where + " ";
    }
    return all;
  };
  problems_.set("fleet", {effect});
  problems_.set("hub", {unread});
  problems_.set("fleet", {cause, third, effect});
  EXPECT_EQ(listed(), "z.yaml:1 fleet/south.yaml:1 clusters/b:1 clusters/a:1 ");
  problems_.set("fleet", {effect, cause});
  EXPECT_EQ(listed(), "z.yaml:1 clusters/a:1 fleet/south.yaml:1 ") << "as they are given now";
}

std::vector<Error> many(std::size_t count, const std::string& fix) {
  std::vector<Error> problems;
  for (std::size_t i = 0; i < count; ++i) {
    problems.push_back({"what", "object " + std::to_string(i), fix});
  }
  return problems;
}

std::ptrdiff_t lines_of(const std::string& log) { return std::count(log.begin(), log.end(), '\n'); }

TEST_F(ProblemListTest, OfManyOfAKindSomeAreLoggedAndTheOthersCounted) {
  std::vector<Error> problems = many(1000, "fix");
  problems.push_back(first_);
  problems.push_back({"another kind", "hub", "other fix"});
  problems_.set("hub", problems);
  std::string log = take_log();
  EXPECT_EQ(lines_of(log), LinePace::kOfKind + 2);
  EXPECT_NE(log.find("another kind"), std::string::npos) << log;
  EXPECT_NE(log.find("hub: 981 more problems"), std::string::npos) << log;
  EXPECT_EQ(problems_.size(), 1002U);

  // What comes at once is counted and told later, also when another part is heard.
  problems_.set("hub", {});
  EXPECT_EQ(lines_of(take_log()), 1);
  now_ += LinePace::kTell;
  problems_.set("routes", {second_});
  log = take_log();
  EXPECT_EQ(lines_of(log), 2);
  EXPECT_NE(log.find("hub: 1001 more problems"), std::string::npos) << log;

  now_ += 1000 * LinePace::kEach;
  problems_.set("hub", many(LinePace::kOfKind, "fix"));
  EXPECT_EQ(lines_of(take_log()), LinePace::kOfKind);
}

TEST_F(ProblemListTest, KindsWithoutEndDoNotPassTheLimitOfTheirPart) {
  std::vector<Error> problems;
  for (int i = 0; i < 1000; ++i) {
    problems.push_back({"what", "object", "fix " + std::to_string(i)});
  }
  problems_.set("hub", problems);
  EXPECT_EQ(lines_of(take_log()), LinePace::kOfPart + 1);
  problems_.set("routes", {first_});
  EXPECT_EQ(take_log(), "warning file:1: what (fix)\n");
}

}  // namespace
}  // namespace isthmus
