// Text for people: alignment, durations, addresses, and no control characters.
#include "control/cli/table.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(Table, AlignsColumnsAndLeavesNoTrailingSpace) {
  Table table{{"NAME"}, {"COUNT", Align::kRight}, {"NOTE"}};
  table.add({"a", "7", ""});
  table.add({"longer", "1234567", "x"});
  EXPECT_EQ(table.text(),
            "NAME      COUNT  NOTE\n"
            "a             7\n"
            "longer  1234567  x\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table{{"N"}, {"X"}};
  table.add({"\xc3\xa4\xc3\xb6", "1"});
  table.add({"ab", "2"});
  EXPECT_EQ(table.text(), "N   X\n\xc3\xa4\xc3\xb6  1\nab  2\n");
}

TEST(Table, ControlCharactersNeverReachTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mb"), "a\xef\xbf\xbd[31mb");
  EXPECT_EQ(printable("a\nb\x7f"),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\xef\xbf\xbd"
            "31m");
  EXPECT_EQ(printable("\xff\xc3"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

TEST(Duration, ShowsTheTwoLargestUnits) {
  EXPECT_EQ(duration_text(0), "0ms");
  EXPECT_EQ(duration_text(999), "999ms");
  EXPECT_EQ(duration_text(12'000), "12s");
  EXPECT_EQ(duration_text(192'999), "3m12s");
  EXPECT_EQ(duration_text(7'200'000), "2h");
  EXPECT_EQ(duration_text(7'205'000), "2h");
  EXPECT_EQ(duration_text(7'500'000), "2h5m");
  EXPECT_EQ(duration_text(86'400'000ULL * 4 + 3'600'000ULL * 3 + 60'000), "4d3h");
}

TEST(EndpointText, BracketsIpv6AndLeavesOutPortZero) {
  EXPECT_EQ(endpoint_text("10.1.0.1", 80), "10.1.0.1:80");
  EXPECT_EQ(endpoint_text("fd00::1", 80), "[fd00::1]:80");
  EXPECT_EQ(endpoint_text("fd00::1", 0), "fd00::1");
}

}  // namespace
}  // namespace isthmus
