// The protocol between load clients and servers, and a byte pattern that can be verified at any offset of a stream.
//
// TCP: the server first sends its name (kNameSize bytes, zero-padded); the client answers with a Hello. Then, in echo
// mode, the server returns every byte; in push mode it sends `bytes` of the pattern every `interval_ms`, unsolicited.
// UDP: the answer to a datagram is the server's name followed by the datagram.
// Integers are in host byte order: both ends run on one machine.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace isthmus::load {

inline constexpr std::size_t kNameSize = 16;
using Name = std::array<char, kNameSize>;

enum class Mode : std::uint32_t { kEcho = 0, kPush = 1 };

struct Hello {
  std::uint64_t seed = 0;
  Mode mode = Mode::kEcho;
  std::uint32_t bytes = 0;
  std::uint32_t interval_ms = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(Hello) == 24);

struct DatagramHeader {
  std::uint64_t seed = 0;
  std::uint64_t sequence = 0;
};

// Word `block` of the pattern with this seed: eight bytes of a mixed counter (splitmix64).
inline std::uint64_t pattern_word(std::uint64_t seed, std::uint64_t block) noexcept {
  std::uint64_t z = seed + (block + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

inline std::uint8_t pattern_byte(std::uint64_t seed, std::uint64_t offset) noexcept {
  return static_cast<std::uint8_t>(pattern_word(seed, offset / 8) >> (8 * (offset % 8)));
}

inline void fill_pattern(std::uint64_t seed, std::uint64_t offset, std::span<std::uint8_t> out) noexcept {
  for (std::uint8_t& byte : out) byte = pattern_byte(seed, offset++);
}

[[nodiscard]] inline bool is_pattern(std::uint64_t seed, std::uint64_t offset,
                                     std::span<const std::uint8_t> bytes) noexcept {
  for (const std::uint8_t byte : bytes) {
    if (byte != pattern_byte(seed, offset++)) return false;
  }
  return true;
}

}  // namespace isthmus::load
