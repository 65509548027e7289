// Typed values from a YAML tree. On failure every function appends to `errors`, with line and fix, and returns nothing.
// `path` names the value in messages ("spec.podCIDRs[0]"). Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/tree.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Text that is safe to print: in double quotes, control bytes escaped, cut after some 60 bytes.
[[nodiscard]] std::string shown(std::string_view text);
// The candidate nearest to `word` by edit distance, if near enough to be a typing error of it; else empty.
[[nodiscard]] std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);
// "a, b or c".
[[nodiscard]] std::string alternatives(const std::vector<std::string_view>& words);
// RFC 1123 label: 1..`max_length` of a-z, 0-9 and '-', beginning and ending with a letter or digit.
[[nodiscard]] bool is_label(std::string_view text, std::size_t max_length = 63) noexcept;
// Labels joined by dots, 253 characters at most.
[[nodiscard]] bool is_subdomain(std::string_view text) noexcept;
// A gateway's name: a subdomain that is no longer than a label, as most names of Kubernetes' nodes are.
inline constexpr std::size_t kGatewayNameLength = 63;
inline constexpr const char* kGatewayNameKind = "a name of 1 to 63 characters of a-z, 0-9, - and .";
[[nodiscard]] bool is_gateway_name(std::string_view text) noexcept;
// A cluster's name as Cilium has it: a label of at most 32.
inline constexpr std::size_t kClusterNameLength = 32;

// Adds an error for every duplicate key of `map`.
void reject_duplicate_keys(const YamlNode& map, std::string_view path, YamlErrors& errors);
// Adds an error for every key of `map` that is not in `known`, naming the nearest known one.
void reject_unknown_keys(const YamlNode& map, std::string_view path, const std::vector<std::string_view>& known,
                         YamlErrors& errors);

[[nodiscard]] std::optional<std::string> read_text(const YamlNode& node, std::string_view path, YamlErrors& errors);
// As read_text(), of what Kubernetes takes for text: without quotes, neither a number nor one of YAML 1.1's words for
// true and false.
[[nodiscard]] std::optional<std::string> read_string(const YamlNode& node, std::string_view path, YamlErrors& errors);
// A whole decimal number, written without quotes, `min` to `max`. `form` is what errors advise to write.
[[nodiscard]] std::optional<std::uint64_t> read_number(const YamlNode& node, std::string_view path, std::uint64_t min,
                                                       std::uint64_t max, YamlErrors& errors,
                                                       std::string_view form = "a number");
// One of two numbers, written without quotes.
[[nodiscard]] std::optional<unsigned> read_either_number(const YamlNode& node, std::string_view path, unsigned first,
                                                         unsigned second, YamlErrors& errors);
[[nodiscard]] std::optional<bool> read_boolean(const YamlNode& node, std::string_view path, YamlErrors& errors);
// An address a host can have: not unspecified, multicast, broadcast or IPv4 written as IPv6.
[[nodiscard]] std::optional<IpAddress> read_address(const YamlNode& node, std::string_view path, YamlErrors& errors);
[[nodiscard]] std::optional<IpAddress> read_address(std::string_view text, unsigned line, std::string_view path,
                                                    YamlErrors& errors);
// A block with its host bits clear; not IPv4 written as IPv6.
[[nodiscard]] std::optional<Prefix> read_prefix(const YamlNode& node, std::string_view path, YamlErrors& errors);
// The elements of a list; empty when it is absent, and with an error when it is no list.
[[nodiscard]] const std::vector<YamlNode>& read_list(const YamlNode* node, std::string_view path, YamlErrors& errors);

// A mapping that may be absent: then it has no keys. Adds an error when the node is no mapping, and for duplicate keys.
class YamlMap {
 public:
  YamlMap(const YamlNode* node, std::string path, unsigned line, YamlErrors& errors);
  // The value of `key`; null when it is absent or written as null.
  [[nodiscard]] const YamlNode* get(std::string_view key) const noexcept;
  // As get(), with an error when there is none.
  [[nodiscard]] const YamlNode* require(std::string_view key, std::string_view fix) const;
  [[nodiscard]] YamlMap map(std::string_view key) const;
  [[nodiscard]] const std::vector<YamlNode>& list(std::string_view key) const;
  // Text of `key`; empty when absent.
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] std::string path(std::string_view key) const;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // Adds an error for every key that is not in `known`.
  void reject_others(const std::vector<std::string_view>& known) const;
  [[nodiscard]] unsigned line() const noexcept { return line_; }
  [[nodiscard]] bool present() const noexcept { return node_ != nullptr; }
  [[nodiscard]] const YamlNode* node() const noexcept { return node_; }
  void error(unsigned line, std::string what, std::string fix) const;
  void warn(unsigned line, std::string what, std::string fix) const;
  [[nodiscard]] YamlErrors& errors() const noexcept { return *errors_; }

 private:
  const YamlNode* node_ = nullptr;
  std::string path_;
  unsigned line_;
  YamlErrors* errors_;
};

}  // namespace isthmus
