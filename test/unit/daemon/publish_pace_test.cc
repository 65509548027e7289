#include "control/daemon/publish_pace.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
constexpr PublishPace::Clock::time_point kStart{seconds(1000)};

TEST(PublishPaceTest, TheFirstChangeTakesEffectAtOnce) { EXPECT_EQ(PublishPace().due(kStart), kStart); }

TEST(PublishPaceTest, ALoneChangeTakesEffectAtOnce) {
  PublishPace pace;
  pace.published(kStart);
  EXPECT_EQ(pace.due(kStart + PublishPace::kGather), kStart + PublishPace::kGather);
  EXPECT_EQ(pace.due(kStart + seconds(5)), kStart + seconds(5));
}

TEST(PublishPaceTest, ChangesSoonAfterAPublishGather) {
  PublishPace pace;
  pace.published(kStart);
  EXPECT_EQ(pace.due(kStart), kStart + PublishPace::kGather);
  EXPECT_EQ(pace.due(kStart + microseconds(300)), kStart + PublishPace::kGather);
}

}  // namespace
}  // namespace isthmus
