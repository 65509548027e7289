// Label selectors of policies.
#include <absl/strings/ascii.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

#include "control/source/manifest/object_reader.h"
#include "control/source/manifest/policy_reader.h"

namespace isthmus {
namespace {

// Cilium assigns labels of these sources to addresses, DNS names and nodes; a selector on them would match nothing
// here.
constexpr std::array<std::string_view, 4> kUnsupportedSources{"cidr", "cidrgroup", "fqdn", "node"};

bool is_unsupported(std::string_view source) {
  return std::find(kUnsupportedSources.begin(), kUnsupportedSources.end(), source) != kUnsupportedSources.end();
}

constexpr auto kLabelForm = "write up to 63 letters, digits, -, _ and ., with a letter or digit at each end";

// The name of a label, or its value: see kLabelForm.
bool is_label_word(std::string_view text) {
  const auto alphanumeric = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  return !text.empty() && text.size() <= 63 && alphanumeric(text.front()) && alphanumeric(text.back()) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

// [DOMAIN/]NAME
bool is_label_key(std::string_view text) {
  const auto slash = text.find('/');
  return slash == std::string_view::npos ? is_label_word(text)
                                         : is_subdomain(text.substr(0, slash)) && is_label_word(text.substr(slash + 1));
}

// A label's value, which must be text: Kubernetes refuses a number or boolean.
std::string read_label_value(const YamlNode& node, const std::string& path, YamlErrors& errors) {
  const std::string text = read_text(node, path, errors).value_or(std::string());
  if (is_bare_number_or_boolean(node)) {
    errors.push_back(
        {node.line, path + " is " + text.substr(0, 24) + ", not text", "write it in quotes: " + shown(text)});
  } else if (!text.empty() && !is_label_word(text)) {
    errors.push_back({node.line, path + " is " + shown(text) + ", not a valid label value", kLabelForm});
  }
  return text;
}

void split_key(const YamlMap& map, std::string_view text, unsigned line, std::string_view source,
               std::string_view prefix, LabelRequirement& out) {
  const auto colon = text.find(':');
  out.source = colon == std::string_view::npos ? source : text.substr(0, colon);
  out.key = std::string(prefix) + std::string(colon == std::string_view::npos ? text : text.substr(colon + 1));
  if (out.key.size() == prefix.size() || out.source.empty()) {
    map.error(line, "label key " + shown(text) + " has no name", "write a label's key, such as k8s:app");
  } else if (!is_label_key(std::string_view(out.key).substr(prefix.size())) && !is_unsupported(out.source)) {
    map.error(line, "label key " + shown(text) + " in " + map.path() + " is not a valid label key",
              std::string("after the source and a DNS domain with /, if any, ") + kLabelForm);
  }
  if (is_unsupported(out.source)) {
    map.error(line, "labels of source " + shown(out.source) + " cannot be selected",
              "select addresses by fromCIDRSet or toCIDRSet");
  }
}

std::optional<LabelOperator> read_operator(const YamlMap& item) {
  constexpr auto kFix = "write In, NotIn, Exists or DoesNotExist";
  const YamlNode* node = item.require("operator", kFix);
  if (node == nullptr) {
    return std::nullopt;
  }
  constexpr std::array<std::string_view, 4> kNames{"In", "NotIn", "Exists", "DoesNotExist"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (node->text == kNames[i]) {
      return static_cast<LabelOperator>(i);
    }
  }
  item.error(node->line, item.path("operator") + " is " + shown(node->text), kFix);
  return std::nullopt;
}

void read_expression(const YamlMap& item, std::string_view source, std::string_view prefix, LabelSelector& out) {
  LabelRequirement requirement;
  const YamlNode* key = item.require("key", "write the label's key");
  const auto op = read_operator(item);
  const auto& values = item.list("values");
  for (std::size_t i = 0; i < values.size(); ++i) {
    requirement.values.push_back(read_label_value(values[i], item_path(item.path("values"), i), item.errors()));
  }
  if (key == nullptr || !op) {
    return;
  }
  split_key(item, key->text, key->line, source, prefix, requirement);
  requirement.op = *op;
  const bool needs_values = *op == LabelOperator::kIn || *op == LabelOperator::kNotIn;
  if (needs_values == values.empty()) {
    item.error(item.line(), item.path("values") + (needs_values ? " is empty" : " is not empty"),
               needs_values ? "write the values to compare with, or the operator Exists or DoesNotExist"
                            : "remove the values, or write the operator In or NotIn");
  }
  out.requirements.push_back(std::move(requirement));
}

}  // namespace

bool is_bare_number_or_boolean(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kScalar || node.quoted) {
    return false;
  }
  std::string word;  // in lower case, without what may be between the digits of a number
  for (const char c : node.text) {
    if (c != '_') {
      word += absl::ascii_tolower(static_cast<unsigned char>(c));
    }
  }
  constexpr std::array<std::string_view, 8> kBooleans{"true", "false", "yes", "no", "on", "off", "y", "n"};
  if (std::find(kBooleans.begin(), kBooleans.end(), word) != kBooleans.end()) {
    return true;
  }
  std::string_view digits = word;
  digits.remove_prefix(digits.starts_with('+') || digits.starts_with('-') ? 1 : 0);
  for (const auto& [prefix, base] : {std::pair{"0x", 16}, std::pair{"0o", 8}, std::pair{"0b", 2}}) {
    if (digits.starts_with(prefix)) {
      const std::string_view rest = digits.substr(2);
      std::uint64_t value = 0;
      return std::from_chars(rest.data(), rest.data() + rest.size(), value, base).ptr == rest.data() + rest.size() &&
             !rest.empty();
    }
  }
  double value = 0;
  const bool begins_as_number =
      !digits.empty() && (digits.front() == '.' || std::isdigit(static_cast<unsigned char>(digits.front())) != 0);
  return begins_as_number &&
         std::from_chars(digits.data(), digits.data() + digits.size(), value).ptr == digits.data() + digits.size();
}

void normalize(LabelSelector& selector) {
  for (LabelRequirement& requirement : selector.requirements) {
    auto& values = requirement.values;
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  }
  auto& all = selector.requirements;
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
}

LabelSelector read_label_selector(const YamlMap& map, std::string_view source, std::string_view prefix,
                                  std::string_view skipped) {
  LabelSelector selector;
  if (!map.present()) {
    return selector;
  }
  map.reject_others({"matchLabels", "matchExpressions"});
  const YamlMap labels = map.map("matchLabels");
  for (std::size_t i = 0; labels.present() && i < labels.node()->keys.size(); ++i) {
    const YamlKey& key = labels.node()->keys[i];
    if (!skipped.empty() && key.text == skipped) {
      continue;
    }
    LabelRequirement requirement;
    split_key(labels, key.text, key.line, source, prefix, requirement);
    requirement.values = {read_label_value(labels.node()->items[i], labels.path(key.text), labels.errors())};
    selector.requirements.push_back(std::move(requirement));
  }
  const auto& expressions = map.list("matchExpressions");
  for (std::size_t i = 0; i < expressions.size(); ++i) {
    const YamlMap item(&expressions[i], item_path(map.path("matchExpressions"), i), expressions[i].line, map.errors());
    item.reject_others({"key", "operator", "values"});
    read_expression(item, source, prefix, selector);
  }
  normalize(selector);
  return selector;
}

bool has_key(const LabelSelector& selector, std::string_view source, std::string_view key) {
  return std::any_of(selector.requirements.begin(), selector.requirements.end(),
                     [&](const LabelRequirement& r) { return r.source == source && r.key == key; });
}

bool has_pod_key(const LabelSelector& selector, std::string_view key) {
  return has_key(selector, "k8s", key) || has_key(selector, "any", key);
}

void require_label(LabelSelector& selector, std::string_view key, std::string_view value) {
  selector.requirements.push_back({"k8s", std::string(key), LabelOperator::kIn, {std::string(value)}});
  normalize(selector);
}

void require_presence(LabelSelector& selector, std::string_view key) {
  const bool implied = std::any_of(selector.requirements.begin(), selector.requirements.end(), [&](const auto& r) {
    return (r.source == "k8s" || r.source == "any") && r.key == key &&
           (r.op == LabelOperator::kIn || r.op == LabelOperator::kExists);
  });
  if (implied) {
    return;
  }
  selector.requirements.push_back({"k8s", std::string(key), LabelOperator::kExists, {}});
  normalize(selector);
}

}  // namespace isthmus
