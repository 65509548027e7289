// What keyed tables are made of: random words for their secrets, a product that mixes two words, and a small generator.
#pragma once

#include <cstdint>
#include <random>

namespace isthmus {

// From the system's source of randomness; slow, for construction.
[[nodiscard]] inline std::uint64_t random_word() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

// Both halves of the product, folded: every bit of either word affects the result.
[[nodiscard]] inline std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// xorshift64: draws places for eviction; not cryptographic. One thread.
class Draws {
 public:
  // Below `limit`.
  [[nodiscard]] std::uint32_t below(std::uint32_t limit) noexcept {
    word_ ^= word_ << 13;
    word_ ^= word_ >> 7;
    word_ ^= word_ << 17;
    return static_cast<std::uint32_t>(((word_ >> 32) * limit) >> 32);
  }

 private:
  std::uint64_t word_ = random_word() | 1;
};

}  // namespace isthmus
