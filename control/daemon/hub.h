// The sources of this gateway: one line per kind of hub. Thread: control.
#pragma once

#include <memory>

#include "config/model/gateway_config.h"
#include "control/source/source.h"

namespace isthmus {

// The hub the configuration names, not started yet.
[[nodiscard]] Result<std::unique_ptr<Source>> make_source(const GatewayConfig& config);

}  // namespace isthmus
