#include "config/load/field_kinds.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace isthmus::config_field {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t milliseconds;
};
constexpr std::array<Unit, 4> kUnits{{{"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};

void read_name(const YamlNode& node, const std::string& key, bool (*good)(std::string_view), const std::string& form,
               YamlFaults& faults, const std::function<void(const std::string&)>& set) {
  const auto value = read_text(node, key, faults);
  if (!value) {
    return;
  }
  if (!good(*value)) {
    faults.push_back({node.line, key + " is " + shown(*value) + ", not " + form, "write " + form});
    return;
  }
  set(*value);
}

}  // namespace

std::optional<std::uint64_t> read_duration(const YamlNode& node, std::string_view path, std::uint64_t least,
                                           std::uint64_t most, YamlFaults& faults) {
  const auto value = read_text(node, path, faults);
  if (!value) {
    return std::nullopt;
  }
  const std::string range = show_duration(least) + " to " + show_duration(most);
  std::uint64_t count = 0;
  const char* last = value->data() + value->size();
  const auto [end, error] = std::from_chars(value->data(), last, count);
  const std::string_view suffix(end, static_cast<std::size_t>(last - end));
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == suffix; });
  if (error == std::errc::invalid_argument || unit == kUnits.end()) {
    faults.push_back({node.line, std::string(path) + " is " + shown(*value) + ", not a duration",
                      "write a whole number with its unit, such as 150ms, 10s, 2m or 1h"});
    return std::nullopt;
  }
  if (error != std::errc{} || count > most / unit->milliseconds || count * unit->milliseconds < least) {
    faults.push_back(
        {node.line, std::string(path) + " is " + shown(*value) + ", out of range", "write a duration, " + range});
    return std::nullopt;
  }
  return count * unit->milliseconds;
}

std::string show_duration(std::uint64_t milliseconds) {
  if (milliseconds == 0) {
    return "0s";
  }
  for (const Unit& unit : kUnits) {
    if (milliseconds % unit.milliseconds == 0) {
      return std::to_string(milliseconds / unit.milliseconds) + std::string(unit.name);
    }
  }
  return {};
}

ConfigField power_of_two(std::string key, Access<std::uint32_t> access, std::uint32_t least, std::uint32_t most,
                         std::string text) {
  ConfigField field = number(key, access, least, most, std::move(text));
  field.type = "power of two, " + std::to_string(least) + " to " + std::to_string(most);
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    const auto value = read_number(node, key, least, most, faults);
    if (!value) {
      return;
    }
    if (!std::has_single_bit(*value)) {
      faults.push_back({node.line, key + " is " + std::to_string(*value) + ", not a power of two",
                        "write " + std::to_string(std::bit_floor(*value)) + " or " +
                            std::to_string(std::min<std::uint64_t>(std::bit_ceil(*value), most))});
      return;
    }
    access(config) = static_cast<std::uint32_t>(*value);
  };
  return field;
}

ConfigField ring_capacity(std::string key, Access<std::uint32_t> access, std::uint32_t most, std::string text) {
  ConfigField field = number(key, access, 1, most, std::move(text));
  field.type = "power of two less one, 1 to " + std::to_string(most);
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    const auto value = read_number(node, key, 1, most, faults);
    if (!value) {
      return;
    }
    if (!std::has_single_bit(*value + 1)) {
      faults.push_back(
          {node.line, key + " is " + std::to_string(*value) + ", not a power of two less one",
           "write " + std::to_string(std::bit_floor(*value) - 1) + " or " + std::to_string(std::bit_ceil(*value) - 1)});
      return;
    }
    access(config) = static_cast<std::uint32_t>(*value);
  };
  return field;
}

ConfigField choice(std::string key, Access<std::string> access, std::vector<std::string_view> words, std::string text) {
  ConfigField field{key, alternatives(words), false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    const auto value = read_text(node, key, faults);
    if (!value) {
      return;
    }
    if (std::find(words.begin(), words.end(), *value) == words.end()) {
      faults.push_back({node.line, key + " is " + shown(*value), "write " + alternatives(words)});
      return;
    }
    access(config) = *value;
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config); };
  return field;
}

ConfigField boolean(std::string key, Access<bool> access, std::string text) {
  ConfigField field{key, "true or false", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    if (const auto value = read_boolean(node, key, faults)) {
      access(config) = *value;
    }
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config) ? "true" : "false"; };
  return field;
}

ConfigField name(std::string key, Access<std::string> access, bool (*good)(std::string_view), std::string form,
                 std::string text) {
  ConfigField field{key, form, false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    read_name(node, key, good, form, faults, [&](const std::string& value) { access(config) = value; });
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config); };
  return field;
}

ConfigField optional_name(std::string key, Access<std::optional<std::string>> access, bool (*good)(std::string_view),
                          std::string form, std::string text) {
  ConfigField field{key, form, false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    read_name(node, key, good, form, faults, [&](const std::string& value) { access(config) = value; });
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config).value_or(std::string()); };
  return field;
}

ConfigField address(std::string key, Access<std::optional<IpAddress>> access, Family family, std::string text) {
  const std::string kind = family == Family::kIpv4 ? "IPv4" : "IPv6";
  ConfigField field{key, kind + " address", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    const auto value = read_address(node, key, faults);
    if (!value) {
      return;
    }
    if (value->family() != family) {
      faults.push_back({node.line, key + " is " + value->to_string() + ", not an " + kind + " address",
                        "write an " + kind + " address here, or move this one to the other family's key"});
      return;
    }
    access(config) = *value;
  };
  field.show = [=](const GatewayConfig& config) {
    const auto& value = member(access, config);
    return value ? value->to_string() : std::string();
  };
  return field;
}

ConfigField ip_address(std::string key, Access<IpAddress> access, std::string text) {
  ConfigField field{key, "an IP address", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    if (const auto value = read_address(node, key, faults)) {
      access(config) = *value;
    }
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config).to_string(); };
  return field;
}

ConfigField required(ConfigField field) {
  field.required = true;
  return field;
}

}  // namespace isthmus::config_field
