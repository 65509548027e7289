#include "config/yaml/rfc3339.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(Rfc3339, IsReadToTheSecond) {
  EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(parse_rfc3339("0001-01-01T00:00:00Z"), -62135596800);  // Go's zero time
  for (const char* same : {"2026-03-02T10:00:00Z", "2026-03-02T10:00:00.123456789Z", "2026-03-02t10:00:00z",
                           "2026-03-02T05:30:00-04:30", "2026-03-02T11:30:00.5+01:30", "2026-03-02T09:59:60Z"}) {
    EXPECT_EQ(parse_rfc3339(same), 1772445600) << same;
  }
}

TEST(Rfc3339, WhatIsNoTimeIsRefused) {
  for (const char* bad : {"",
                          "2026-03-02",
                          "2026-02-30T00:00:00Z",
                          "2026-13-01T00:00:00Z",
                          "2026-03-02T24:00:00Z",
                          "2026-03-02T10:00:00",
                          "2026-03-02T10:00:00Zz",
                          "2026-03-02T10:00:00.Z",
                          "-026-03-02T10:00:00Z",
                          "2026-3-02T10:00:00Z",
                          "12026-03-02T10:00:00Z",
                          "2026-03-02T10:00:00+0130",
                          "2026-03-02T10:00:00+01",
                          "2026-03-02T10:00:00+24:00",
                          "2026-03-02T10:00:00+01:60",
                          " 2026-03-02T10:00:00Z",
                          "2026-03-02T10:00:00Z ",
                          "2026-03-02 10:00:00Z",
                          "infinite-future",
                          "infinite-past"}) {
    EXPECT_FALSE(parse_rfc3339(bad)) << bad;
  }
}

}  // namespace
}  // namespace isthmus
