// Reads the configuration of a gateway. Thread: control, at start and for `isthmus config check`; nothing throws.
// fields.cc is the one place of the keys, their types, defaults and explanations; config/schema/reference.md is printed
// from it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/model/gateway_config.h"
#include "dataplane/api/types.h"

namespace isthmus {

// The configuration in the file at `path`. The error is the first of check_config(), with the number of further ones.
// `name`, here and below: the gateway whose configuration it is, in the place of gateway.name; empty: as the file says.
[[nodiscard]] Result<GatewayConfig> load_config(const std::string& path, const std::string& name = {});
// The text of that file, for callers that report every error in it.
[[nodiscard]] Result<std::string> read_config_text(const std::string& path);
// The same from text; `file` names it in errors.
[[nodiscard]] Result<GatewayConfig> parse_config(std::string_view text, const std::string& file,
                                                 const std::string& name = {});
// Every error in `text`, in the order of its lines, each with "file:line" and a fix. Empty when there are none.
[[nodiscard]] std::vector<Error> check_config(std::string_view text, const std::string& file,
                                              const std::string& name = {});
// The gateways that the text has settings of (`gateways`), in its order; empty where it cannot be read, or has none.
[[nodiscard]] std::vector<std::string> gateways_in(std::string_view text);

// The configuration in force as "key: value" lines with defaults, for people.
[[nodiscard]] std::string describe(const GatewayConfig& config);
// The text of config/schema/reference.md.
[[nodiscard]] std::string config_reference();

}  // namespace isthmus
