// What nobody can tell from outside: another in each process. For numbers by which answers of others are known.
// Thread: any.
#pragma once

#include <cstdint>
#include <random>

namespace isthmus {

[[nodiscard]] inline std::uint64_t random_seed() {
  std::random_device random;
  return std::uint64_t{random()} << 32 | random();
}

}  // namespace isthmus
