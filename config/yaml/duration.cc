#include "config/yaml/duration.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t milliseconds;
};
constexpr std::array<Unit, 4> kUnits{{{"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};

}  // namespace

std::optional<std::uint64_t> parse_duration(std::string_view text) noexcept {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t count = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, count);
  const std::string_view suffix(end, static_cast<std::size_t>(last - end));
  const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == suffix; });
  if (error == std::errc::invalid_argument || unit == kUnits.end()) {
    return std::nullopt;
  }
  return error != std::errc{} || count > kMost / unit->milliseconds ? kMost : count * unit->milliseconds;
}

std::optional<std::uint64_t> read_duration(const YamlNode& node, std::string_view path, std::uint64_t min,
                                           std::uint64_t max, YamlErrors& errors) {
  const auto text = read_text(node, path, errors);
  if (!text) {
    return std::nullopt;
  }
  const std::string range = show_duration(min) + " to " + show_duration(max);
  const auto value = parse_duration(*text);
  if (!value) {
    errors.push_back({node.line, std::string(path) + " is " + shown(*text) + ", not a duration",
                      "write a whole number with its unit (ms, s, m or h), " + range});
    return std::nullopt;
  }
  if (*value < min || *value > max) {
    errors.push_back(
        {node.line, std::string(path) + " is " + shown(*text) + ", out of range", "write a duration, " + range});
    return std::nullopt;
  }
  return value;
}

std::string show_duration(std::uint64_t milliseconds) {
  if (milliseconds == 0) {
    return "0s";
  }
  for (const Unit& unit : kUnits) {
    if (milliseconds % unit.milliseconds == 0) {
      return std::to_string(milliseconds / unit.milliseconds) + std::string(unit.name);
    }
  }
  return {};
}

}  // namespace isthmus
