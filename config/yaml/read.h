// Typed values out of a YAML tree. Every function records what is wrong, with the line and a remedy, in the faults it
// is given, and returns nothing then. `path` names the value in messages ("spec.podCIDRs[0]"). Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/tree.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Text safe to show: in double quotes, control bytes escaped, cut after some 60 bytes.
[[nodiscard]] std::string shown(std::string_view text);
// The candidate nearest to `word` by edit distance, when it is near enough to be meant; else empty.
[[nodiscard]] std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);
// "a, b or c".
[[nodiscard]] std::string alternatives(const std::vector<std::string_view>& words);
// RFC 1123 label: 1..`longest` of a-z, 0-9 and '-', beginning and ending with a letter or digit.
[[nodiscard]] bool is_label(std::string_view text, std::size_t longest = 63) noexcept;
// Labels joined by dots, 253 characters at most.
[[nodiscard]] bool is_subdomain(std::string_view text) noexcept;
// A cluster's name as Cilium has it: a label of at most 32.
inline constexpr std::size_t kClusterNameLength = 32;

// Adds a fault for every key that stands twice in `map`.
void refuse_duplicate_keys(const YamlNode& map, std::string_view path, YamlFaults& faults);
// Adds a fault for every key of `map` that is not in `known`, naming the nearest known one.
void refuse_unknown_keys(const YamlNode& map, std::string_view path, const std::vector<std::string_view>& known,
                         YamlFaults& faults);

[[nodiscard]] std::optional<std::string> read_text(const YamlNode& node, std::string_view path, YamlFaults& faults);
// A whole decimal number, written without quotes, between `least` and `most`.
[[nodiscard]] std::optional<std::uint64_t> read_number(const YamlNode& node, std::string_view path, std::uint64_t least,
                                                       std::uint64_t most, YamlFaults& faults);
[[nodiscard]] std::optional<bool> read_boolean(const YamlNode& node, std::string_view path, YamlFaults& faults);
// An address a host can have: not unspecified, multicast or IPv4 written as IPv6.
[[nodiscard]] std::optional<IpAddress> read_address(const YamlNode& node, std::string_view path, YamlFaults& faults);
[[nodiscard]] std::optional<IpAddress> read_address(std::string_view text, unsigned line, std::string_view path,
                                                    YamlFaults& faults);
// A block with its host bits clear.
[[nodiscard]] std::optional<Prefix> read_prefix(const YamlNode& node, std::string_view path, YamlFaults& faults);
// The elements of a list; empty when it is absent, and with a fault when it is something else.
[[nodiscard]] const std::vector<YamlNode>& read_list(const YamlNode* node, std::string_view path, YamlFaults& faults);

// A mapping that may be absent: then it has no keys. Records a fault when the node is something else, and its
// duplicates.
class YamlMap {
 public:
  YamlMap(const YamlNode* node, std::string path, unsigned line, YamlFaults& faults);
  // The value of `key`; null when it is absent or written as null.
  [[nodiscard]] const YamlNode* get(std::string_view key) const noexcept;
  // As get(), with a fault when there is none.
  [[nodiscard]] const YamlNode* require(std::string_view key, std::string_view remedy) const;
  [[nodiscard]] YamlMap map(std::string_view key) const;
  [[nodiscard]] const std::vector<YamlNode>& list(std::string_view key) const;
  // Text of `key`; empty when absent.
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] std::string path(std::string_view key) const;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // A fault for every key that is not in `known`.
  void refuse_others(const std::vector<std::string_view>& known) const;
  [[nodiscard]] unsigned line() const noexcept { return line_; }
  [[nodiscard]] bool present() const noexcept { return node_ != nullptr; }
  [[nodiscard]] const YamlNode* node() const noexcept { return node_; }
  void fault(unsigned line, std::string what, std::string remedy) const;
  void warn(unsigned line, std::string what, std::string remedy) const;
  [[nodiscard]] YamlFaults& faults() const noexcept { return *faults_; }

 private:
  const YamlNode* node_ = nullptr;
  std::string path_;
  unsigned line_;
  YamlFaults* faults_;
};

}  // namespace isthmus
