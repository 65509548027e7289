// The input of a sequence: bytes that are read one by one, 0 behind their end. Plain value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace isthmus::test {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  [[nodiscard]] bool empty() const { return at_ == end_; }
  std::uint8_t byte() { return empty() ? std::uint8_t{0} : *at_++; }
  std::uint32_t below(std::uint32_t limit) { return byte() % limit; }
  bool coin() { return (byte() & 1) != 0; }
  std::uint16_t word() {
    const std::uint8_t high = byte();
    return static_cast<std::uint16_t>(high << 8 | byte());
  }
  template <typename T, std::size_t N>
  const T& of(const std::array<T, N>& choices) {
    return choices[byte() % N];
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

}  // namespace isthmus::test
