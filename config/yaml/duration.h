// Durations as people write them: a whole number and its unit, "150ms", "30s", "2m" or "1h". Thread: any. What cannot
// be read becomes an error with its line and what to write.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/yaml/tree.h"

namespace isthmus {

// In milliseconds; more than 64 bits hold is the largest number. Nothing: it is no duration.
[[nodiscard]] std::optional<std::uint64_t> parse_duration(std::string_view text) noexcept;
// In milliseconds, `min` to `max`.
[[nodiscard]] std::optional<std::uint64_t> read_duration(const YamlNode& node, std::string_view path, std::uint64_t min,
                                                         std::uint64_t max, YamlErrors& errors);
// In the largest unit that is exact.
[[nodiscard]] std::string show_duration(std::uint64_t milliseconds);

}  // namespace isthmus
