// What the keys of `devices` must be together. Used by load.cc only.
#pragma once

#include "config/model/gateway_config.h"
#include "config/yaml/tree.h"

namespace isthmus {

// Also fills in what follows from other keys: names of DPDK devices' interfaces, the settings of one device for both
// sides. After the keys were read by themselves.
void check_devices(const YamlNode& root, GatewayConfig& config, YamlErrors& errors);

}  // namespace isthmus
