// Reads the configuration of a gateway. Thread: control, at start and for `isthmus config check`; nothing throws.
// The keys, their types, defaults and explanations stand in fields.cc, once; config/schema/reference.md comes from
// there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/model/gateway_config.h"
#include "dataplane/api/types.h"

namespace isthmus {

// The configuration in the file at `path`. The error is the first of check_config(), and says how many more there are.
[[nodiscard]] Result<GatewayConfig> load_config(const std::string& path);
// The same from text; `file` names it in errors.
[[nodiscard]] Result<GatewayConfig> parse_config(std::string_view text, const std::string& file);
// Every error in `text`, in the order of its lines, each with "file:line" and a remedy. Empty when it is good.
[[nodiscard]] std::vector<Error> check_config(std::string_view text, const std::string& file);

// The configuration in force as "key: value" lines, defaults included, for people to read.
[[nodiscard]] std::string describe(const GatewayConfig& config);
// The text of config/schema/reference.md.
[[nodiscard]] std::string config_reference();

}  // namespace isthmus
