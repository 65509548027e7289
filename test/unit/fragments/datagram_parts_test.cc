// Which parts of a datagram have come: against a map of its bytes, for random parts.
#include "dataplane/fragments/datagram_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace isthmus::test {
namespace {

using Added = DatagramParts::Added;

TEST(DatagramParts, AreCompleteInWhateverOrderTheyCome) {
  std::vector<unsigned> order{0, 1, 2, 3, 4};
  do {
    DatagramParts parts;
    for (std::size_t i = 0; i < order.size(); ++i) {
      EXPECT_FALSE(parts.complete());
      EXPECT_EQ(parts.add(order[i] * 8, order[i] == 4 ? 3 : 8, order[i] == 4), Added::kNew);
    }
    EXPECT_TRUE(parts.complete());
    EXPECT_EQ(parts.total(), 35u);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(DatagramParts, ThatBringNothingNewAreDuplicates) {
  DatagramParts parts;
  EXPECT_EQ(parts.add(0, 16, false), Added::kNew);
  EXPECT_EQ(parts.add(16, 16, true), Added::kNew);
  EXPECT_EQ(parts.add(0, 16, false), Added::kDuplicate);
  EXPECT_EQ(parts.add(8, 8, false), Added::kDuplicate);
  EXPECT_EQ(parts.add(16, 16, true), Added::kDuplicate);
  EXPECT_TRUE(parts.complete());
}

TEST(DatagramParts, DoNotOverlap) {
  const auto parts = [] {
    DatagramParts made;
    EXPECT_EQ(made.add(16, 16, false), Added::kNew);
    return made;
  };
  EXPECT_EQ(parts().add(8, 16, false), Added::kOverlaps) << "its beginning is new";
  EXPECT_EQ(parts().add(24, 16, false), Added::kOverlaps) << "its end is new";
  EXPECT_EQ(parts().add(8, 32, false), Added::kOverlaps) << "both are";
  EXPECT_EQ(parts().add(0, 8, true), Added::kOverlaps) << "the last one ends before another";
  DatagramParts ended = parts();
  EXPECT_EQ(ended.add(32, 8, true), Added::kNew);
  EXPECT_EQ(ended.add(40, 8, false), Added::kOverlaps) << "behind the last one";
  EXPECT_EQ(ended.add(16, 16, true), Added::kOverlaps) << "another last one";
}

TEST(DatagramParts, HaveALimitedNumberOfGaps) {
  DatagramParts parts;
  for (unsigned i = 0; i < DatagramParts::kMost; ++i) {
    EXPECT_EQ(parts.add(i * 16, 8, false), Added::kNew);
  }
  EXPECT_EQ(parts.add(DatagramParts::kMost * 16, 8, false), Added::kTooMany);
  EXPECT_EQ(parts.add(8, 8, false), Added::kNew) << "one that closes a gap needs no room";
  EXPECT_EQ(parts.add(DatagramParts::kMost * 16, 8, false), Added::kNew) << "and makes some";
}

TEST(DatagramParts, AgreeWithAMapOfTheirBytes) {
  std::mt19937 random(1);
  const auto below = [&](std::uint32_t limit) { return random() % limit; };
  for (unsigned round = 0; round < 20'000; ++round) {
    DatagramParts parts;
    std::vector<bool> has(256);
    std::size_t total = 0;
    for (unsigned i = 0; i < 24; ++i) {
      const std::size_t start = below(30) * 8, bytes = 1 + below(3) * 8 + (below(4) == 0 ? below(7) : 7);
      const bool last = below(8) == 0;
      const auto from = has.begin() + static_cast<std::ptrdiff_t>(start);
      const auto to = from + static_cast<std::ptrdiff_t>(bytes);
      const auto there = static_cast<std::size_t>(std::count(from, to, true));
      const bool behind = std::find(to, has.end(), true) != has.end();
      const Added added = parts.add(static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(bytes), last);
      if (there == bytes && (!last || start + bytes == total)) {
        ASSERT_EQ(added, Added::kDuplicate);
      } else if (there != 0 || (last && (total != 0 || behind)) || (total != 0 && start + bytes > total)) {
        ASSERT_EQ(added, Added::kOverlaps);
      } else if (added == Added::kNew) {
        std::fill(from, to, true);
        total = last ? start + bytes : total;
      } else {
        ASSERT_EQ(added, Added::kTooMany);
      }
      const auto gap = std::find(has.begin(), has.end(), false);
      ASSERT_EQ(parts.complete(), total != 0 && gap - has.begin() == static_cast<std::ptrdiff_t>(total));
      ASSERT_EQ(parts.total(), total);
    }
  }
}

}  // namespace
}  // namespace isthmus::test
