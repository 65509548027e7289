// Entry points of the program: running a gateway, and removing what a stopped one left on its node.
#pragma once

#include "config/model/gateway_config.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Leaves SIGTERM, SIGINT and SIGHUP waiting for run(): before anything that takes time, so that none of them ends a
// process that is about to take them.
void hold_signals();

// Runs a gateway until SIGTERM or SIGINT (ok), or until it cannot start or continue (an error with its fix).
// Start: hub → own objects in it → kernel, local device → devices → engine → tables → routes → ready. While the hub
// lacks our own Cluster or Gateway object, waits for it and reports so. A stop leaves local device, routes and XDP
// program in place, so that fleet traffic fails closed.
// Thread: the main thread, before any other exists (signals are blocked here and workers inherit that).
[[nodiscard]] Status run(const GatewayConfig& config);

// Removes what run() leaves on this node: local device, its routes, XDP programs, the connection table's file. Every
// step is tried; returns the first error. Refuses while the gateway runs. `keep_known`: what hubs said last stays.
[[nodiscard]] Status clean_up(const GatewayConfig& config, bool keep_known);

}  // namespace isthmus
