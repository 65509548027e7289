#include "config/load/field_kinds.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace isthmus::config_field {
namespace {

void read_name(const YamlNode& node, const std::string& key, bool (*good)(std::string_view), const std::string& form,
               YamlErrors& errors, const std::function<void(const std::string&)>& set) {
  const auto value = read_text(node, key, errors);
  if (!value) {
    return;
  }
  if (!good(*value)) {
    errors.push_back({node.line, key + " is " + shown(*value) + ", not " + form, "write " + form});
    return;
  }
  set(*value);
}

std::string shown_list(const std::vector<Prefix>& prefixes) {
  std::string out = "[";
  for (const Prefix& prefix : prefixes) {
    out += (out.size() > 1 ? ", " : "") + prefix.to_string();
  }
  return out + "]";
}

}  // namespace

ConfigField power_of_two(std::string key, Access<std::uint32_t> access, std::uint32_t min, std::uint32_t max,
                         std::string text) {
  ConfigField field = number(key, access, min, max, std::move(text));
  field.type = "power of two, " + std::to_string(min) + " to " + std::to_string(max);
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    const auto value = read_number(node, key, min, max, errors, "a power of two");
    if (!value) {
      return;
    }
    if (!std::has_single_bit(*value)) {
      errors.push_back(
          {node.line, key + " is " + std::to_string(*value) + ", not a power of two",
           "write " + std::to_string(std::bit_floor(*value)) + " or " + std::to_string(std::bit_ceil(*value))});
      return;
    }
    access(config) = static_cast<std::uint32_t>(*value);
  };
  return field;
}

ConfigField ring_capacity(std::string key, Access<std::uint32_t> access, std::uint32_t max, std::string text) {
  ConfigField field = number(key, access, 1, max, std::move(text));
  field.type = "power of two minus one, 1 to " + std::to_string(max);
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    const auto value = read_number(node, key, 1, max, errors, "a power of two minus one");
    if (!value) {
      return;
    }
    const std::uint64_t power = *value + 1;
    if (!std::has_single_bit(power)) {
      errors.push_back(
          {node.line, key + " is " + std::to_string(*value) + ", not a power of two minus one",
           "write " + std::to_string(std::bit_floor(power) - 1) + " or " + std::to_string(std::bit_ceil(power) - 1)});
      return;
    }
    access(config) = static_cast<std::uint32_t>(*value);
  };
  return field;
}

ConfigField either_number(std::string key, Access<unsigned> access, unsigned first, unsigned second, std::string text) {
  ConfigField field = number(key, access, first, second, std::move(text));
  field.type = std::to_string(first) + " or " + std::to_string(second);
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (const auto value = read_either_number(node, key, first, second, errors)) {
      access(config) = *value;
    }
  };
  return field;
}

ConfigField boolean(std::string key, Access<bool> access, std::string text) {
  ConfigField field{key, "true or false", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (const auto value = read_boolean(node, key, errors)) {
      access(config) = *value;
    }
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config) ? "true" : "false"; };
  return field;
}

ConfigField name(std::string key, Access<std::string> access, bool (*good)(std::string_view), std::string form,
                 std::string text) {
  ConfigField field{key, form, false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    read_name(node, key, good, form, errors, [&](const std::string& value) { access(config) = value; });
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config); };
  return field;
}

ConfigField optional_name(std::string key, Access<std::optional<std::string>> access, bool (*good)(std::string_view),
                          std::string form, std::string text) {
  ConfigField field{key, form, false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    read_name(node, key, good, form, errors, [&](const std::string& value) { access(config) = value; });
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config).value_or(std::string()); };
  return field;
}

ConfigField address(std::string key, Access<std::optional<IpAddress>> access, Family family, std::string text) {
  const std::string kind = family == Family::kIpv4 ? "IPv4" : "IPv6";
  ConfigField field{key, kind + " address", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    const auto value = read_address(node, key, errors);
    if (!value) {
      return;
    }
    if (value->family() != family) {
      errors.push_back({node.line, key + " is " + value->to_string() + ", not an " + kind + " address",
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

ConfigField listen_address(std::string key, Access<IpAddress> access, std::string text) {
  ConfigField field{key, "an IP address", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (node.kind == YamlNode::Kind::kScalar && (node.text == "0.0.0.0" || node.text == "::")) {
      access(config) = *IpAddress::parse(node.text);
    } else if (const auto value = read_address(node, key, errors)) {
      access(config) = *value;
    }
  };
  field.show = [=](const GatewayConfig& config) { return member(access, config).to_string(); };
  return field;
}

ConfigField prefixes(std::string key, Access<std::vector<Prefix>> access, std::string text) {
  ConfigField field{key, "list of CIDRs", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    std::vector<Prefix> read;
    for (const YamlNode& item : read_list(&node, key, errors)) {
      if (const auto prefix = read_prefix(item, key, errors)) {
        read.push_back(*prefix);
      }
    }
    access(config) = std::move(read);
  };
  field.show = [=](const GatewayConfig& config) { return shown_list(member(access, config)); };
  return field;
}

ConfigField prefixes_by_cluster(std::string key, Access<std::map<std::string, std::vector<Prefix>>> access,
                                std::string text) {
  ConfigField field{key, "lists of CIDRs by cluster", false, {}, {}, std::move(text)};
  field.read = [=](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    const YamlMap map(&node, key, node.line, errors);
    if (!map.present()) {
      return;
    }
    for (const YamlKey& cluster : node.keys) {
      if (!is_label(cluster.text, kClusterNameLength)) {
        errors.push_back({cluster.line, key + " names cluster " + shown(cluster.text) + ", which is no cluster's name",
                          "write lower-case letters, digits and '-', 32 at most"});
        continue;
      }
      std::vector<Prefix>& read = access(config)[cluster.text];
      for (const YamlNode& item : map.list(cluster.text)) {
        if (const auto prefix = read_prefix(item, key + "." + cluster.text, errors)) {
          read.push_back(*prefix);
        }
      }
    }
  };
  field.show = [=](const GatewayConfig& config) {
    std::string out = "{";
    for (const auto& [cluster, list] : member(access, config)) {
      out += (out.size() > 1 ? ", " : "") + cluster + ": " + shown_list(list);
    }
    return out + "}";
  };
  return field;
}

ConfigField required(ConfigField field, std::string unless) {
  field.required = true;
  field.unless = std::move(unless);
  return field;
}

}  // namespace isthmus::config_field
