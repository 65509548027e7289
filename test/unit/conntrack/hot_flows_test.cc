#include "dataplane/conntrack/hot_flows.h"

#include <gtest/gtest.h>

#include <set>

namespace isthmus {
namespace {

constexpr std::uint32_t kThreshold = 16, kHot = 100, kSeconds = 60;

// Of `slow` directions with two packets a second, and kHot with 1,000: the hot ones that are found.
std::set<std::uint32_t> found_beside(std::uint32_t slow) {
  HotFlows hot(kThreshold);
  std::set<std::uint32_t> found;
  for (std::uint32_t second = 1; second <= kSeconds; ++second) {
    for (std::uint32_t i = 0; i < slow + kHot; ++i) {
      // Hot ones come in between, as packets do.
      const bool is_hot = i % (slow / kHot + 1) == 0 && i / (slow / kHot + 1) < kHot;
      const std::uint32_t line = 3 * i + 1, rate = is_hot ? 1000 : 2;
      if (hot.note(line, std::uint64_t{rate} * second, Seconds{second})) {
        EXPECT_TRUE(is_hot) << line;
        found.insert(line);
      }
    }
  }
  return found;
}

TEST(HotFlows, FindsWhatIsHotBesideManyThatAreNot) {
  EXPECT_EQ(found_beside(100).size(), kHot);
  EXPECT_GT(found_beside(20'000).size(), kHot * 9 / 10);
  EXPECT_GT(found_beside(100'000).size(), kHot / 2);
}

}  // namespace
}  // namespace isthmus
