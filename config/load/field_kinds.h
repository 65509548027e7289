// Builders of rows for fields.cc, one per kind of value. `access` returns the member of a configuration that a row
// sets. Every error names the key and what would be accepted; the reference prints the same text.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/load/fields.h"
#include "config/model/enum_name.h"
#include "config/yaml/duration.h"
#include "config/yaml/read.h"

namespace isthmus::config_field {

template <typename T>
using Access = T& (*)(GatewayConfig&);

template <typename T>
const T& member(Access<T> access, const GatewayConfig& config) {
  return access(const_cast<GatewayConfig&>(config));  // NOLINT(cppcoreguidelines-pro-type-const-cast): read only
}

template <typename T>
ConfigField number(std::string key, Access<T> access, std::uint64_t min, std::uint64_t max, std::string text) {
  ConfigField field{key, "number, " + std::to_string(min) + " to " + std::to_string(max), false, {}, {}, text};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (const auto value = read_number(node, key, min, max, errors)) {
      access(config) = static_cast<T>(*value);
    }
  };
  field.show = [=](const GatewayConfig& config) { return std::to_string(member(access, config)); };
  return field;
}

template <typename T>
ConfigField duration(std::string key, Access<T> access, std::uint64_t min, std::uint64_t max, std::string text) {
  ConfigField field{key, "duration, " + show_duration(min) + " to " + show_duration(max), false, {}, {}, text};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (const auto value = read_duration(node, key, min, max, errors)) {
      access(config) = static_cast<T>(*value);
    }
  };
  field.show = [=](const GatewayConfig& config) { return show_duration(member(access, config)); };
  return field;
}

template <typename Enum>
ConfigField choice(std::string key, Access<Enum> access, std::vector<EnumName<Enum>> names, std::string text) {
  std::vector<std::string_view> words;
  for (const EnumName<Enum>& row : names) {
    words.push_back(row.name);
  }
  ConfigField field{key, alternatives(words), false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    const auto word = read_text(node, key, errors);
    if (!word) {
      return;
    }
    const auto row = std::find_if(names.begin(), names.end(), [&](const auto& one) { return one.name == *word; });
    if (row == names.end()) {
      errors.push_back({node.line, key + " is " + shown(*word), "write " + alternatives(words)});
      return;
    }
    access(config) = row->value;
  };
  field.show = [=](const GatewayConfig& config) { return std::string(name_in(names, member(access, config))); };
  return field;
}

// `min` and `max` are powers of two.
ConfigField power_of_two(std::string key, Access<std::uint32_t> access, std::uint32_t min, std::uint32_t max,
                         std::string text);
// A power of two minus one, 1 to `max`, which is one too.
ConfigField ring_capacity(std::string key, Access<std::uint32_t> access, std::uint32_t max, std::string text);
// One of two numbers.
ConfigField either_number(std::string key, Access<unsigned> access, unsigned first, unsigned second, std::string text);
ConfigField boolean(std::string key, Access<bool> access, std::string text);
// A name that `good` accepts; `form` describes those.
ConfigField name(std::string key, Access<std::string> access, bool (*good)(std::string_view), std::string form,
                 std::string text);
ConfigField optional_name(std::string key, Access<std::optional<std::string>> access, bool (*good)(std::string_view),
                          std::string form, std::string text);
ConfigField address(std::string key, Access<std::optional<IpAddress>> access, Family family, std::string text);
// An address of either family.
// An address to listen on: one host's, or 0.0.0.0 or :: for all of this one.
ConfigField listen_address(std::string key, Access<IpAddress> access, std::string text);
// A list of CIDRs; it may be empty.
ConfigField prefixes(std::string key, Access<std::vector<Prefix>> access, std::string text);
// CIDRs by name of a cluster: a mapping of lists.
ConfigField prefixes_by_cluster(std::string key, Access<std::map<std::string, std::vector<Prefix>>> access,
                                std::string text);
// `unless`: another key whose presence makes it optional.
ConfigField required(ConfigField field, std::string unless = {});

}  // namespace isthmus::config_field
