// Makers of rows for fields.cc, one per kind of value. `access` gives the member of a configuration that a row sets.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/load/fields.h"
#include "config/yaml/read.h"

namespace isthmus::config_field {

template <typename T>
using Access = T& (*)(GatewayConfig&);

template <typename T>
const T& member(Access<T> access, const GatewayConfig& config) {
  return access(const_cast<GatewayConfig&>(config));  // NOLINT(cppcoreguidelines-pro-type-const-cast): read only
}

// "150ms", "10s", "2m", "1h" in milliseconds, at least `least`.
std::optional<std::uint64_t> read_duration(const YamlNode& node, std::string_view path, std::uint64_t least,
                                           std::uint64_t most, YamlFaults& faults);
// The longest form that is exact.
std::string show_duration(std::uint64_t milliseconds);

template <typename T>
ConfigField number(std::string key, Access<T> access, std::uint64_t least, std::uint64_t most, std::string text) {
  ConfigField field{key, "number, " + std::to_string(least) + " to " + std::to_string(most), false, {}, {}, text};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    if (const auto value = read_number(node, key, least, most, faults)) {
      access(config) = static_cast<T>(*value);
    }
  };
  field.show = [=](const GatewayConfig& config) { return std::to_string(member(access, config)); };
  return field;
}

template <typename T>
ConfigField duration(std::string key, Access<T> access, std::uint64_t least, std::uint64_t most, std::string text) {
  ConfigField field{key, "duration, " + show_duration(least) + " to " + show_duration(most), false, {}, {}, text};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    if (const auto value = read_duration(node, key, least, most, faults)) {
      access(config) = static_cast<T>(*value);
    }
  };
  field.show = [=](const GatewayConfig& config) { return show_duration(member(access, config)); };
  return field;
}

ConfigField power_of_two(std::string key, Access<std::uint32_t> access, std::uint32_t least, std::uint32_t most,
                         std::string text);
// One less than a power of two, 1 to `most`.
ConfigField ring_capacity(std::string key, Access<std::uint32_t> access, std::uint32_t most, std::string text);
ConfigField choice(std::string key, Access<std::string> access, std::vector<std::string_view> words, std::string text);
ConfigField boolean(std::string key, Access<bool> access, std::string text);
// A name that `good` accepts; `form` says which those are.
ConfigField name(std::string key, Access<std::string> access, bool (*good)(std::string_view), std::string form,
                 std::string text);
ConfigField optional_name(std::string key, Access<std::optional<std::string>> access, bool (*good)(std::string_view),
                          std::string form, std::string text);
ConfigField address(std::string key, Access<std::optional<IpAddress>> access, Family family, std::string text);
// An address of either family.
ConfigField ip_address(std::string key, Access<IpAddress> access, std::string text);
ConfigField required(ConfigField field);

}  // namespace isthmus::config_field
