// One row per key of the configuration file: how it is read, shown and explained. Used by load.cc and reference.cc
// only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "config/yaml/tree.h"

namespace isthmus {

struct ConfigField {
  std::string key;   // dotted path
  std::string type;  // what may be written, for the reference
  bool required = false;
  std::function<void(const YamlNode&, GatewayConfig&, YamlErrors&)> read;
  std::function<std::string(const GatewayConfig&)> show;  // as it would be written
  std::string text;                                       // what it does, for the reference
  std::string unless = {};                                // of one that is required: not where this key is written
};

// In the order of the reference; keys of one section are adjacent.
[[nodiscard]] const std::vector<ConfigField>& config_fields();
// Those of one section that has a file of its own.
void add_admission_fields(std::vector<ConfigField>& fields);
void add_device_fields(std::vector<ConfigField>& fields);
void add_dpdk_fields(std::vector<ConfigField>& fields);  // of `engine`
void add_balancing_fields(std::vector<ConfigField>& fields);
void add_health_fields(std::vector<ConfigField>& fields);

}  // namespace isthmus
