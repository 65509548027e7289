#include "control/source/etcd/mask.h"

#include "config/yaml/base64.h"

namespace isthmus {

std::optional<MaskLength> mask_length(std::string_view base64) {
  const auto mask = decode_base64(base64);
  if (!mask || (mask->size() != 4 && mask->size() != 16)) {
    return std::nullopt;
  }
  MaskLength length{0, static_cast<std::uint8_t>(mask->size())};
  bool ended = false;
  for (const char byte : *mask) {
    for (unsigned bit = 0x80; bit != 0; bit >>= 1) {
      const bool one = (static_cast<unsigned char>(byte) & bit) != 0;
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
