// Go's net.IPMask as encoded in JSON: base64 of 4 or 16 bytes. Internal to this folder. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace isthmus {

struct MaskLength {
  std::uint8_t bits = 0;   // leading ones
  std::uint8_t bytes = 0;  // 4 or 16
};
// Nothing if the text is not base64 of 4 or 16 bytes, or the ones are not contiguous from the start.
[[nodiscard]] std::optional<MaskLength> mask_length(std::string_view base64);

}  // namespace isthmus
