#include "config/yaml/read.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <set>
#include <utility>

namespace isthmus {
namespace {

constexpr std::size_t kShownBytes = 60;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Levenshtein distance, ignoring case.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

bool is_alphanumeric(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// An IPv4 address that is written as IPv6.
bool is_mapped(const IpAddress& address, std::string_view text) {
  return address.is_ipv4() && text.find(':') != std::string_view::npos;
}

bool want_scalar(const YamlNode& node, std::string_view path, std::string_view example, YamlErrors& errors) {
  if (node.kind == YamlNode::Kind::kScalar) {
    return true;
  }
  errors.push_back({node.line, std::string(path) + " is " + std::string(node.kind_name()) + ", not a single value",
                    "write " + std::string(example)});
  return false;
}

// What YAML reads as a number or as a boolean where it stands without quotes.
bool is_typed(std::string_view text) {
  constexpr std::array<std::string_view, 8> kBooleans = {"true", "false", "yes", "no", "on", "off", "y", "n"};
  std::string small(text);
  std::transform(small.begin(), small.end(), small.begin(), lower);
  if (std::find(kBooleans.begin(), kBooleans.end(), small) != kBooleans.end()) {
    return true;
  }
  const bool negative = small.starts_with('-') || small.starts_with('+');
  const char* first = small.data() + (negative ? 1 : 0);
  const char* last = small.data() + small.size();
  if (first == last || !((*first >= '0' && *first <= '9') || *first == '.')) {
    return false;
  }
  for (const auto& [prefix, base] : {std::pair{"0x", 16}, std::pair{"0o", 8}, std::pair{"0b", 2}}) {
    std::uint64_t ignored = 0;
    if (std::string_view(first, last).starts_with(prefix)) {
      return first + 2 != last && std::from_chars(first + 2, last, ignored, base).ptr == last;
    }
  }
  double ignored = 0;
  return std::from_chars(first, last, ignored).ptr == last;
}

}  // namespace

std::string shown(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, kShownBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\x%02x", byte);
      out += escape.data();
    } else {
      out += c;
    }
  }
  return out + (text.size() > kShownBytes ? "...\"" : "\"");
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() > 64) {
    return best;
  }
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string alternatives(const std::vector<std::string_view>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    out += i == 0 ? "" : (i + 1 == words.size() ? " or " : ", ");
    out += words[i];
  }
  return out;
}

bool is_label(std::string_view text, std::size_t max_length) noexcept {
  return !text.empty() && text.size() <= max_length && is_alphanumeric(text.front()) && is_alphanumeric(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alphanumeric(c) || c == '-'; });
}

bool is_subdomain(std::string_view text) noexcept {
  if (text.size() > 253) {
    return false;
  }
  for (std::size_t begin = 0;;) {
    const std::size_t dot = text.find('.', begin);
    if (!is_label(text.substr(begin, dot - begin), 253)) {
      return false;
    }
    if (dot == std::string_view::npos) {
      return true;
    }
    begin = dot + 1;
  }
}

bool is_gateway_name(std::string_view text) noexcept { return text.size() <= kGatewayNameLength && is_subdomain(text); }

void reject_duplicate_keys(const YamlNode& map, std::string_view path, YamlErrors& errors) {
  std::set<std::string_view> seen;
  for (const YamlKey& key : map.keys) {
    if (!seen.insert(key.text).second) {
      errors.push_back(
          {key.line,
           "key " + shown(key.text) + " is defined twice in " + (path.empty() ? "the document" : std::string(path)),
           "keep one of them"});
    }
  }
}

void reject_unknown_keys(const YamlNode& map, std::string_view path, const std::vector<std::string_view>& known,
                         YamlErrors& errors) {
  for (const YamlKey& key : map.keys) {
    if (std::find(known.begin(), known.end(), key.text) != known.end()) {
      continue;
    }
    const std::string_view near = nearest(key.text, known);
    std::string fix = near.empty() ? "known here: " + alternatives(known) : "did you mean " + std::string(near) + "?";
    errors.push_back({key.line, "unknown key " + shown(key.text) + (path.empty() ? "" : " in " + std::string(path)),
                      std::move(fix)});
  }
}

std::optional<std::string> read_text(const YamlNode& node, std::string_view path, YamlErrors& errors) {
  if (!want_scalar(node, path, "one word or quoted text", errors)) {
    return std::nullopt;
  }
  return node.text;
}

std::optional<std::string> read_string(const YamlNode& node, std::string_view path, YamlErrors& errors) {
  auto text = read_text(node, path, errors);
  if (text && !node.quoted && is_typed(*text)) {
    errors.push_back({node.line, std::string(path) + " is " + *text + " without quotes, which is no text",
                      "write \"" + *text + "\""});
    return std::nullopt;
  }
  return text;
}

std::optional<std::uint64_t> read_number(const YamlNode& node, std::string_view path, std::uint64_t min,
                                         std::uint64_t max, YamlErrors& errors, std::string_view form) {
  const std::string range =
      max == UINT64_MAX ? std::to_string(min) + " or more" : std::to_string(min) + " to " + std::to_string(max);
  const std::string advice = std::string(form) + ", " + range;
  if (!want_scalar(node, path, advice, errors)) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  const char* last = node.text.data() + node.text.size();
  const auto [end, error] = std::from_chars(node.text.data(), last, value);
  if (node.quoted || node.text.empty() || end != last || error == std::errc::invalid_argument) {
    errors.push_back({node.line, std::string(path) + " is " + shown(node.text) + ", not a whole number",
                      "write " + std::string(form) + " without quotes, " + range});
    return std::nullopt;
  }
  if (error != std::errc{} || value < min || value > max) {
    errors.push_back(
        {node.line, std::string(path) + " is " + node.text.substr(0, 24) + ", out of range", "write " + advice});
    return std::nullopt;
  }
  return value;
}

std::optional<unsigned> read_either_number(const YamlNode& node, std::string_view path, unsigned first, unsigned second,
                                           YamlErrors& errors) {
  const std::string form = std::to_string(first) + " or " + std::to_string(second) + ", without quotes";
  if (!want_scalar(node, path, form, errors)) {
    return std::nullopt;
  }
  for (const unsigned value : {first, second}) {
    if (!node.quoted && node.text == std::to_string(value)) {
      return value;
    }
  }
  errors.push_back({node.line, std::string(path) + " is " + shown(node.text), "write " + form});
  return std::nullopt;
}

std::optional<bool> read_boolean(const YamlNode& node, std::string_view path, YamlErrors& errors) {
  if (!want_scalar(node, path, "true or false", errors)) {
    return std::nullopt;
  }
  if (!node.quoted && (node.text == "true" || node.text == "True" || node.text == "TRUE")) {
    return true;
  }
  if (!node.quoted && (node.text == "false" || node.text == "False" || node.text == "FALSE")) {
    return false;
  }
  errors.push_back({node.line, std::string(path) + " is " + shown(node.text) + ", neither true nor false",
                    "write true or false without quotes"});
  return std::nullopt;
}

std::optional<IpAddress> read_address(std::string_view text, unsigned line, std::string_view path, YamlErrors& errors) {
  const auto address = IpAddress::parse(text);
  if (!address) {
    errors.push_back({line, std::string(path) + " is " + shown(text) + ", not an IP address",
                      "write an address such as 10.1.2.3 or \"fd00::1\""});
    return std::nullopt;
  }
  static const auto kBroadcast = IpAddress::parse("255.255.255.255");
  const bool mapped = is_mapped(*address, text);
  if (address->is_unspecified() || address->is_multicast() || address == kBroadcast || mapped) {
    errors.push_back({line, std::string(path) + " is " + shown(text) + ", which no host can have",
                      mapped ? "write it as " + address->to_string() : "write the address of one host"});
    return std::nullopt;
  }
  return address;
}

std::optional<IpAddress> read_address(const YamlNode& node, std::string_view path, YamlErrors& errors) {
  if (!want_scalar(node, path, "an IP address", errors)) {
    return std::nullopt;
  }
  return read_address(node.text, node.line, path, errors);
}

std::optional<Prefix> read_prefix(const YamlNode& node, std::string_view path, YamlErrors& errors) {
  if (!want_scalar(node, path, "an address block such as 10.1.0.0/16", errors)) {
    return std::nullopt;
  }
  const auto prefix = Prefix::parse(node.text);
  const auto slash = node.text.find('/');
  if (!prefix || slash == std::string::npos || is_mapped(prefix->address(), node.text)) {
    errors.push_back({node.line, std::string(path) + " is " + shown(node.text) + ", not an address block",
                      "write a block such as 10.1.0.0/16 or \"fd00:1::/48\""});
    return std::nullopt;
  }
  const auto address = IpAddress::parse(std::string_view(node.text).substr(0, slash));
  if (!address || prefix->address() != *address) {
    errors.push_back({node.line, std::string(path) + " is " + shown(node.text) + ", with bits set beyond its length",
                      "write " + prefix->to_string()});
    return std::nullopt;
  }
  return prefix;
}

const std::vector<YamlNode>& read_list(const YamlNode* node, std::string_view path, YamlErrors& errors) {
  static const std::vector<YamlNode> kNone;
  if (node == nullptr || node->kind == YamlNode::Kind::kNull) {
    return kNone;
  }
  if (node->kind != YamlNode::Kind::kSequence) {
    errors.push_back({node->line, std::string(path) + " is " + std::string(node->kind_name()) + ", not a list",
                      "write a list: [a, b], or one \"- a\" per line"});
    return kNone;
  }
  return node->items;
}

YamlMap::YamlMap(const YamlNode* node, std::string path, unsigned line, YamlErrors& errors)
    : path_(std::move(path)), line_(line), errors_(&errors) {
  if (node == nullptr || node->kind == YamlNode::Kind::kNull) {
    return;
  }
  line_ = node->line;
  if (node->kind != YamlNode::Kind::kMap) {
    error(line_,
          (path_.empty() ? std::string("the document") : path_) + " is " + std::string(node->kind_name()) +
              ", not a mapping",
          "write \"key: value\" lines below it");
    return;
  }
  node_ = node;
  reject_duplicate_keys(*node, path_, errors);
}

const YamlNode* YamlMap::get(std::string_view key) const noexcept {
  const YamlNode* value = node_ == nullptr ? nullptr : node_->find(key);
  return value == nullptr || value->kind == YamlNode::Kind::kNull ? nullptr : value;
}

const YamlNode* YamlMap::require(std::string_view key, std::string_view fix) const {
  const YamlNode* value = get(key);
  if (value == nullptr) {
    error(line_, path(key) + " is missing", std::string(fix));
  }
  return value;
}

YamlMap YamlMap::map(std::string_view key) const { return {get(key), path(key), line_, *errors_}; }

const std::vector<YamlNode>& YamlMap::list(std::string_view key) const {
  return read_list(get(key), path(key), *errors_);
}

std::string YamlMap::text(std::string_view key) const {
  const YamlNode* value = get(key);
  return value == nullptr ? std::string() : read_text(*value, path(key), *errors_).value_or(std::string());
}

std::string YamlMap::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void YamlMap::reject_others(const std::vector<std::string_view>& known) const {
  if (node_ != nullptr) {
    reject_unknown_keys(*node_, path_, known, *errors_);
  }
}

void YamlMap::error(unsigned line, std::string what, std::string fix) const {
  errors_->push_back({line, std::move(what), std::move(fix), false});
}

void YamlMap::warn(unsigned line, std::string what, std::string fix) const {
  errors_->push_back({line, std::move(what), std::move(fix), true});
}

}  // namespace isthmus
