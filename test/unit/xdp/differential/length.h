// How long the differential test is, as its arguments say.
#pragma once

#include <cstdint>

namespace isthmus::test {

struct DifferentialLength {
  std::uint64_t packets = 240'000;  // of all fleets
  std::uint64_t fleets = 24;        // of which the last one has a seed at random
  std::uint64_t seed = 1;           // of the first one
};
[[nodiscard]] inline DifferentialLength& differential_length() {
  static DifferentialLength length;
  return length;
}

}  // namespace isthmus::test
