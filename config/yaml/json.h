// JSON text as the tree that yaml/tree.h has for YAML, five to ten times as fast: for what an API server sends, which
// is machine-written and large. Owner: the caller, plain values. Thread: any. Nothing throws; text that is no JSON, or
// is beyond the bounds, comes back as a fault. Strings count as `quoted`, numbers and booleans do not; every line is 1.
#pragma once

#include <cstddef>
#include <string_view>
#include <variant>

#include "config/yaml/tree.h"

namespace isthmus {

struct JsonBounds {
  std::size_t depth = 64;
  std::size_t nodes = 20'000'000;
  std::string_view skipped_key = {};  // a list under this key is read over and left out
};

// One JSON value and nothing after it but blanks.
[[nodiscard]] std::variant<YamlNode, YamlFault> parse_json(std::string_view text, const JsonBounds& bounds = {});

}  // namespace isthmus
