// The control thread of a gateway, and the removal of what a gateway leaves on its node.
#pragma once

#include "config/model/gateway_config.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Runs a gateway until SIGTERM or SIGINT (ok), or until it cannot start or go on (the error says why and the remedy).
// Start: hub → own objects in it → kernel, local device → devices → engine → tables → routes → ready. While the hub
// lacks our own Cluster or Gateway object we wait for it and say so. A stop leaves local device, routes and XDP program
// in place, so that fleet traffic fails closed.
// Thread: the main thread, before any other exists (signals are blocked here and workers inherit that).
[[nodiscard]] Status run(const GatewayConfig& config);

// Removes what run() leaves on this node: local device, its routes, XDP programs, the connection table's file. All of
// it is tried; the error tells what could not be done. Refuses while the gateway runs.
[[nodiscard]] Status clean_up(const GatewayConfig& config);

}  // namespace isthmus
