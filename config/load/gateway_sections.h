// Settings of single gateways in a configuration that several share: the section `gateways`, a mapping by name. Owner:
// the caller, plain values. Thread: control, at start. Nothing throws; what is wrong becomes an error with its line.
#pragma once

#include <string>
#include <vector>

#include "config/yaml/tree.h"

namespace isthmus {

// The gateways that `root` has settings of, in the order of the file.
[[nodiscard]] std::vector<std::string> listed_gateways(const YamlNode& root);
// Makes `root` the configuration of the gateway `name`, or of the one that gateway.name names where `name` is empty:
// its section's keys take the place of the same keys outside, and the section `gateways` goes. Keys of other gateways
// are not looked at.
void select_gateway(YamlNode& root, const std::string& name, YamlErrors& errors);

}  // namespace isthmus
