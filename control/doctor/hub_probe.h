// Asks the hubs of a configuration, as the gateway does, whether they answer: all at once, each in a thread of its own.
// Writes nothing to them. A credential program of a kubeconfig is run, as the gateway runs it.
#pragma once

#include <chrono>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/doctor/facts.h"

namespace isthmus {

struct HubProbes {
  std::vector<HubFacts> hubs;
  // Some have not answered, and their threads go on (a resolver cannot be interrupted): the process is to end by
  // std::_Exit.
  bool unfinished = false;
};
// Returns after `deadline` at the latest; who has not answered by then is an error.
[[nodiscard]] HubProbes probe_hubs(const GatewayConfig& config, std::chrono::milliseconds deadline);

}  // namespace isthmus
