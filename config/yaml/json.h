// Parses JSON into the tree of yaml/tree.h, five to ten times as fast as the YAML parser: for the large,
// machine-written texts of API servers. Owner: the caller, plain values. Thread: any. Nothing throws; text that is not
// JSON or exceeds the bounds is an error. Strings are `quoted`, numbers and booleans are not; every line is 1.
#pragma once

#include <cstddef>
#include <string_view>
#include <variant>

#include "config/yaml/tree.h"

namespace isthmus {

struct JsonBounds {
  std::size_t depth = 64;
  std::size_t nodes = 20'000'000;
  std::string_view skipped_key = {};  // a list under this key is skipped
};

// The text is one JSON value, followed by white space only.
[[nodiscard]] std::variant<YamlNode, YamlError> parse_json(std::string_view text, const JsonBounds& bounds = {});

}  // namespace isthmus
