// The differential test. Without arguments: some fleets of fixed seeds, and one of a seed at random.
//   --packets=N   of them all together
//   --fleets=N    how many
//   --seed=N      of the first one; the others follow
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "test/unit/xdp/differential/length.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (geteuid() != 0) {
    std::puts("skipped: loading a BPF program needs root");
    return kSkipped;
  }
  testing::InitGoogleTest(&argc, argv);
  isthmus::test::DifferentialLength& length = isthmus::test::differential_length();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    const auto value = [&](std::string_view name, std::uint64_t& into) {
      if (argument.starts_with(name)) {
        into = std::strtoull(argv[i] + name.size(), nullptr, 10);
      }
    };
    value("--packets=", length.packets);
    value("--fleets=", length.fleets);
    value("--seed=", length.seed);
  }
  return RUN_ALL_TESTS();
}
