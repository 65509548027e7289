// YAML (and so JSON) text as a plain tree with line numbers: the only user of yaml-cpp in the program.
// Owner: the caller, plain values. Thread: any. Nothing throws; what the parser rejects is returned as an error.
// Beyond yaml-cpp: control characters are rejected, anchors and aliases are copied within a bound, and a map keeps its
// duplicate keys so that readers can report them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace isthmus {

struct YamlKey {
  std::string text;
  unsigned line = 0;  // from 1
};

struct YamlNode {
  enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  bool quoted = false;          // scalars: written in quotes or as a block, so never a number or a boolean
  unsigned line = 0;            // from 1; of its first character
  std::string text;             // scalars
  std::vector<YamlKey> keys;    // maps: one per item, in order
  std::vector<YamlNode> items;  // sequences: elements; maps: values

  // The first value under `key`; null when this is no map or has no such key.
  [[nodiscard]] const YamlNode* find(std::string_view key) const noexcept;
  // "a mapping", "a list", "a value", "nothing".
  [[nodiscard]] std::string_view kind_name() const noexcept;
};

// The value at a dotted path of keys; null when there is none, or nothing is written there.
[[nodiscard]] const YamlNode* find_path(const YamlNode& root, std::string_view path) noexcept;

// An error in a text. With `warning` set, the value is used all the same.
struct YamlError {
  unsigned line = 0;
  std::string what, fix;
  bool warning = false;
};
using YamlErrors = std::vector<YamlError>;

// One document of a stream. `first_line` counts from 1 in the whole text; `text` points into it.
struct YamlDocumentText {
  std::string_view text;
  unsigned first_line = 1;
};

// Cuts a stream at its document marks ("---" and "..." at the start of a line), so that an error in one document leaves
// the others readable. Documents with nothing but comments are left out.
[[nodiscard]] std::vector<YamlDocumentText> split_documents(std::string_view text);

// Parses one document. Lines in the result count from `first_line`.
[[nodiscard]] std::variant<YamlNode, YamlError> parse_yaml(std::string_view document, unsigned first_line = 1);

}  // namespace isthmus
