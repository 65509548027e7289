#include "control/daemon/publish_pace.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
constexpr PublishPace::Clock::time_point kStart{seconds(1000)};

TEST(PublishPaceTest, TheFirstChangeIsPublishedImmediately) { EXPECT_EQ(PublishPace().due(kStart), kStart); }

TEST(PublishPaceTest, AnIsolatedChangeIsPublishedImmediately) {
  PublishPace pace;
  pace.published(kStart);
  EXPECT_EQ(pace.due(kStart + PublishPace::kInterval), kStart + PublishPace::kInterval);
  EXPECT_EQ(pace.due(kStart + seconds(5)), kStart + seconds(5));
}

TEST(PublishPaceTest, ChangesSoonAfterAPublishAreCoalesced) {
  PublishPace pace;
  pace.published(kStart);
  EXPECT_EQ(pace.due(kStart), kStart + PublishPace::kInterval);
  EXPECT_EQ(pace.due(kStart + microseconds(300)), kStart + PublishPace::kInterval);
}

}  // namespace
}  // namespace isthmus
