// DropReason: why a packet was dropped. The list, with texts and Cilium's numbers, is drop_reasons.def.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace isthmus {

enum class DropReason : std::uint8_t {
#define ISTHMUS_DROP(enumerator, name, code, text, hint) k##enumerator,
#include "dataplane/stats/drop_reasons.def"
#undef ISTHMUS_DROP
  kCount
};

inline constexpr std::size_t kDropReasons = static_cast<std::size_t>(DropReason::kCount);

struct DropReasonInfo {
  std::string_view name, text, hint;
  unsigned cilium_code;
};

inline constexpr std::array<DropReasonInfo, kDropReasons> kDropReasonInfo{{
#define ISTHMUS_DROP(enumerator, name, code, text, hint) {#name, text, hint, code},
#include "dataplane/stats/drop_reasons.def"
#undef ISTHMUS_DROP
}};

}  // namespace isthmus
