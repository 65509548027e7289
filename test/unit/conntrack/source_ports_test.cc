#include "dataplane/conntrack/source_ports.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace isthmus {
namespace {

std::vector<std::uint16_t> all(SourcePorts ports) {
  std::vector<std::uint16_t> out;
  while (const auto p = ports.next()) {
    out.push_back(p->value());
  }
  return out;
}

TEST(SourcePorts, OwnPortComesFirstWhenItIsInTheRange) {
  EXPECT_EQ(all(SourcePorts({1000, 2000}, L4Port{1500}, 77)).front(), 1500);
  EXPECT_NE(all(SourcePorts({1000, 2000}, L4Port{999}, 77)).front(), 999);
  EXPECT_EQ(all(SourcePorts({1000, 2000}, L4Port{2000}, 77)).front(), 2000);
}

TEST(SourcePorts, TriesAreBoundedDistinctAndInRange) {
  for (std::uint64_t random = 0; random < 200; ++random) {
    const auto tried = all(SourcePorts({32768, 65535}, L4Port{5}, random * 0x9e3779b97f4a7c15ULL));
    EXPECT_EQ(tried.size(), SourcePorts::kTries);
    EXPECT_EQ(std::set(tried.begin(), tried.end()).size(), tried.size());
    for (const std::uint16_t p : tried) {
      EXPECT_GE(p, 32768);
    }
  }
}

TEST(SourcePorts, SmallRangeIsTriedCompletely) {
  for (std::uint64_t random = 0; random < 200; ++random) {
    for (std::uint16_t last = 100; last < 130; ++last) {
      const auto tried = all(SourcePorts({100, last}, L4Port{100}, random * 0x9e3779b97f4a7c15ULL));
      EXPECT_EQ(std::set(tried.begin(), tried.end()).size(), tried.size());
      EXPECT_EQ(tried.size(), static_cast<std::size_t>(last - 100 + 1));
    }
  }
}

TEST(SourcePorts, EchoIdentifiersUseTheWholeRange) {
  EXPECT_EQ(all(SourcePorts(kEchoIdentifiers, L4Port{0}, 1)).front(), 0);
  EXPECT_EQ(all(SourcePorts(kEchoIdentifiers, L4Port{65535}, 1)).front(), 65535);
}

TEST(SourcePorts, StartingPortsVary) {
  std::set<std::uint16_t> starts;
  for (std::uint64_t n = 1; n <= 256; ++n) {
    starts.insert(all(SourcePorts({32768, 65535}, L4Port{5}, n * 0x9e3779b97f4a7c15ULL)).front());
  }
  EXPECT_GT(starts.size(), 240u);
}

}  // namespace
}  // namespace isthmus
