// Random choices of the differential test. Value; one thread. Equal seeds give equal choices.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>

namespace isthmus::test {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : source_(seed) {}

  [[nodiscard]] std::uint64_t word() { return source_(); }
  [[nodiscard]] std::uint8_t byte() { return static_cast<std::uint8_t>(source_()); }
  [[nodiscard]] std::uint16_t half() { return static_cast<std::uint16_t>(source_()); }
  // `limit`: above 0.
  [[nodiscard]] std::size_t below(std::size_t limit) { return source_() % limit; }
  [[nodiscard]] std::size_t between(std::size_t first, std::size_t last) { return first + below(last - first + 1); }
  [[nodiscard]] bool one_in(std::size_t many) { return below(many) == 0; }
  template <typename Choices>
  [[nodiscard]] auto& of(Choices& choices) {
    return choices[below(std::size(choices))];
  }
  template <typename Value, std::size_t kCount>
  [[nodiscard]] Value of(const Value (&choices)[kCount]) {
    return choices[below(kCount)];
  }

 private:
  std::mt19937_64 source_;
};

}  // namespace isthmus::test
