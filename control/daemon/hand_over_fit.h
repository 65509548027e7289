// The parameters by which a gateway tells whether what another one hands over fits it: the hello of control/handover.
// Thread: any; pure but for the network namespace, which it reads.
#pragma once

#include <string>

#include "config/model/gateway_config.h"
#include "control/handover/port.h"

namespace isthmus {

// A line "parameter value" for each.
[[nodiscard]] std::string hand_over_hello(const GatewayConfig& config);
// `ours`: of the gateway that runs; `theirs`: of the one that takes over.
[[nodiscard]] HandOverPort::Fit hand_over_fit(const std::string& ours, const std::string& theirs);

}  // namespace isthmus
