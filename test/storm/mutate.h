// Mutations of a frame: bytes flipped and replaced, words set to boundary values, truncated, extended, spliced. Most
// touch the headers. Deterministic in the random source.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

namespace isthmus::storm {

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed | 1) {}
  [[nodiscard]] std::uint32_t next() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::uint32_t>((state_ * 0x2545f4914f6cdd1dULL) >> 32);
  }
  // 0 .. bound - 1; `bound` is not 0.
  [[nodiscard]] std::uint32_t below(std::uint32_t bound) noexcept {
    return static_cast<std::uint32_t>((std::uint64_t{next()} * bound) >> 32);
  }

 private:
  std::uint64_t state_;
};

// Changes `frame`, of which `length` bytes are in use; at most `frame.size()` may be. Returns the new length, 1 or
// more.
inline std::uint32_t mutate(std::span<std::uint8_t> frame, std::uint32_t length, std::span<const std::uint8_t> other,
                            Random& random) noexcept {
  constexpr std::uint16_t kWords[] = {0,      1,      7,      8,      19,     20,     28,  0x4500,
                                      0x4600, 0x45ff, 0x6000, 0x7fff, 0x8000, 0xffff, 1500};
  const std::uint32_t headers = std::min(length, 140u);
  const std::uint32_t at = random.below(headers);
  switch (random.below(8)) {
    case 0:
    case 1:
      frame[at] = static_cast<std::uint8_t>(frame[at] ^ (1u << random.below(8)));
      return length;
    case 2:
      frame[at] = static_cast<std::uint8_t>(random.next());
      return length;
    case 3: {
      const std::uint16_t word = kWords[random.below(std::size(kWords))];
      frame[at] = static_cast<std::uint8_t>(word >> 8);
      frame[std::min(at + 1, length - 1)] = static_cast<std::uint8_t>(word);
      return length;
    }
    case 4:
      return 1 + random.below(length);
    case 5: {
      const auto longer = std::min(static_cast<std::uint32_t>(frame.size()), length + 1 + random.below(64));
      std::memset(frame.data() + length, static_cast<int>(random.next() & 0xff), longer - length);
      return longer;
    }
    case 6: {  // the rest of another frame
      const auto bytes = std::min<std::uint32_t>(static_cast<std::uint32_t>(other.size()), length) -
                         std::min<std::uint32_t>(at, static_cast<std::uint32_t>(other.size()));
      if (at < other.size() && bytes <= length - at) {
        std::memcpy(frame.data() + at, other.data() + at, bytes);
      }
      return length;
    }
    default:  // the total length of an IPv4 packet
      if (length > 17) {
        frame[17] = static_cast<std::uint8_t>(random.next());
      }
      return length;
  }
}

}  // namespace isthmus::storm
