#include "control/source/etcd/base64.h"

#include <array>

namespace isthmus {
namespace {

int digit(char c) {
  return c >= 'A' && c <= 'Z'   ? c - 'A'
         : c >= 'a' && c <= 'z' ? c - 'a' + 26
         : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+'             ? 62
         : c == '/'             ? 63
                                : -1;
}

}  // namespace

std::optional<MaskLength> mask_length(std::string_view base64) {
  // 4 bytes are 6 digits and "==", 16 bytes 22 digits and "==".
  if ((base64.size() != 8 && base64.size() != 24) || !base64.ends_with("==")) {
    return std::nullopt;
  }
  const std::size_t digits = base64.size() - 2, bytes = base64.size() == 8 ? 4 : 16;
  std::array<std::uint8_t, 17> mask{};
  std::uint32_t bits = 0;
  unsigned held = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const int value = digit(base64[i]);
    if (value < 0) {
      return std::nullopt;
    }
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      mask[at++] = static_cast<std::uint8_t>(bits >> held);
    }
  }
  MaskLength length{0, static_cast<std::uint8_t>(bytes)};
  bool ended = false;
  for (std::size_t i = 0; i < bytes; ++i) {
    for (unsigned bit = 0x80; bit != 0; bit >>= 1) {
      const bool one = (mask[i] & bit) != 0;
      if (one && ended) {
        return std::nullopt;
      }
      ended = ended || !one;
      length.bits = static_cast<std::uint8_t>(length.bits + one);
    }
  }
  return length;
}

}  // namespace isthmus
