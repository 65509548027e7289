// A configuration file as lines of key, value and reason, and its text. Plain values, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isthmus {

struct ConfigLine {
  enum class Kind : std::uint8_t {
    kSet,
    kLeftOut,  // written as a comment: the default holds; the value is an example
    kNeeded,   // without a value: only a person knows it
  };
  Kind kind = Kind::kSet;
  std::string key;    // dotted path, as in config/schema/reference.md
  std::string value;  // as YAML
  std::string why;
};

// `text` as a YAML scalar: in quotes where it would be read as anything else.
[[nodiscard]] std::string yaml_scalar(std::string_view text);
// In blocks, with the sections of the keys: lines of one section must be adjacent. `header`: the comment above it, one
// line after the other, wrapped like the reasons.
[[nodiscard]] std::string config_text(const std::string& header, const std::vector<ConfigLine>& lines);

}  // namespace isthmus
