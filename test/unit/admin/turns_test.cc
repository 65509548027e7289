// Turns on the loop and on the thread beside it: order, who has what is shared, questions to the loop, and an end in
// the middle.
#include "control/loop/turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "control/loop/event_loop.h"

namespace isthmus {
namespace {

class TurnsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(loop_.open().ok());
    ASSERT_TRUE(turns_->start().ok());
  }
  Turns::Part says(const char* what) {
    return [this, what] { seen_ += what; };
  }

  EventLoop loop_;
  std::optional<Turns> turns_{std::in_place, loop_};
  std::string seen_;  // what the turns share
};

TEST_F(TurnsTest, PartsRunInOrderEachWhereItBelongs) {
  const auto loop = std::this_thread::get_id();
  std::thread::id prepared, worked, ended;
  turns_->take({[&] { prepared = std::this_thread::get_id(); }, [&] { worked = std::this_thread::get_id(); },
                [&] {
                  ended = std::this_thread::get_id();
                  loop_.stop();
                }});
  EXPECT_TRUE(turns_->working());
  loop_.run();
  EXPECT_EQ(prepared, loop);
  EXPECT_NE(worked, loop);
  EXPECT_NE(worked, std::thread::id{});
  EXPECT_EQ(ended, loop);
  EXPECT_FALSE(turns_->working());
}

TEST_F(TurnsTest, WhatIsTakenMeanwhileComesAfterwards) {
  turns_->take(says("1 "));
  EXPECT_EQ(seen_, "1 ");  // nothing was before it
  turns_->take({says("2 "), [this] { seen_ += "work "; },
                [this] {
                  seen_ += "done ";
                  turns_->take([this] {
                    seen_ += "5 ";
                    loop_.stop();
                  });
                }});
  turns_->take({says("3 "), [this] { seen_ += "work "; }, says("done ")});
  turns_->take(says("4 "));
  loop_.run();
  EXPECT_EQ(seen_, "1 2 work done 3 work done 4 5 ");
}

TEST_F(TurnsTest, TakenAsTheLastComesWhenNothingElseWaits) {
  turns_->take({says("1 "), [] {}, says("done ")});
  turns_->take_last({says("4 "), {}, [this] {
                       turns_->take_last({{}, {}, [this] {
                                            seen_ += "6";
                                            loop_.stop();
                                          }});
                       turns_->take(says("5 "));
                     }});
  turns_->take(says("2 "));
  turns_->take(says("3 "));
  loop_.run();
  EXPECT_EQ(seen_, "1 done 2 3 4 5 6");
}

TEST_F(TurnsTest, TakenWhilePreparingComesAfterTheWholeTurn) {
  turns_->take({[this] {
                  turns_->take([this] {
                    seen_ += "next";
                    loop_.stop();
                  });
                },
                [this] { seen_ += "work "; }, says("done ")});
  loop_.run();
  EXPECT_EQ(seen_, "work done next");
}

TEST_F(TurnsTest, TheLoopGoesOnMeanwhileAndAnswersQuestions) {
  std::thread::id asked;
  turns_->take({{},
                [&] {
                  for (int i = 0; i < 1000; ++i) {
                    turns_->ask_loop([&] {
                      asked = std::this_thread::get_id();
                      seen_ += 'x';  // the thread waits
                    });
                  }
                },
                [&] { loop_.stop(); }});
  loop_.run();
  EXPECT_EQ(asked, std::this_thread::get_id());
  EXPECT_EQ(seen_, std::string(1000, 'x'));
}

TEST_F(TurnsTest, WaitingAnswersQuestionsAndLeavesTheRestOut) {
  turns_->take({{}, [&] { turns_->ask_loop(says("asked ")); }, says("done ")});
  turns_->wait();  // the loop does not run
  EXPECT_EQ(seen_, "asked ");
  EXPECT_FALSE(turns_->working());
  turns_->take([this] {
    seen_ += "next";
    loop_.stop();
  });
  loop_.run();
  EXPECT_EQ(seen_, "asked next");
}

TEST_F(TurnsTest, AnEndedOneThatWasWaitedForDoesNotEndTheNext) {
  turns_->take({{}, says("1 "), says("never ")});
  turns_->wait();
  turns_->take({{}, says("2 "), [this] {
                  seen_ += "done";
                  loop_.stop();
                }});
  loop_.run();
  EXPECT_EQ(seen_, "1 2 done");
}

TEST_F(TurnsTest, TurnsThatWaitAfterOneThatWasWaitedForBegin) {
  turns_->take({{}, says("1 "), {}});
  turns_->take([this] {
    seen_ += "2";
    loop_.stop();
  });
  turns_->wait();
  loop_.run();
  EXPECT_EQ(seen_, "1 2");
}

TEST_F(TurnsTest, DestroyedWhileItAsksAndOthersWait) {
  const auto held = std::make_shared<int>(1);
  turns_->take({{}, [&, held] { turns_->ask_loop(says("asked")); }, {}});
  turns_->take([this, held] { seen_ += "never"; });
  turns_.reset();
  EXPECT_EQ(seen_, "asked");
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace isthmus
