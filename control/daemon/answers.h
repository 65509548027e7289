// The answers to `isthmus status`, services, endpoints, connections, flows and drops, read from the gateway's parts as
// they are now. Thread: control; nothing is changed.
#pragma once

#include <chrono>
#include <string>

#include "config/model/gateway_config.h"
#include "control/admin/request.h"
#include "control/admin/server.h"
#include "control/daemon/active_gateway.h"
#include "control/daemon/hubs.h"
#include "control/daemon/problem_list.h"
#include "control/model/model.h"

namespace isthmus {

struct GatewayParts {
  const GatewayConfig& config;
  const Model& model;
  const Hubs& hubs;
  const ProblemList& problems;
  const ActiveGateway* active;  // null while we wait for our own objects
  std::chrono::steady_clock::time_point started;
};

// One line of JSON (admin/replies.h); for flows, more lines behind it.
[[nodiscard]] AdminAnswer answer_request(const AdminRequest& request, const GatewayParts& parts);

// The page for Prometheus (observe/metrics_page.h).
[[nodiscard]] std::string answer_metrics(const GatewayParts& parts);

}  // namespace isthmus
