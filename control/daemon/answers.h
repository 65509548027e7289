// Answers `isthmus status`, services, endpoints, connections, flows and drops from the present state of the gateway's
// parts. Thread: control; changes nothing.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/admin/request.h"
#include "control/admin/server.h"
#include "control/daemon/active_gateway.h"
#include "control/daemon/hubs.h"
#include "control/daemon/problem_list.h"
#include "control/model/model.h"
#include "control/observe/metrics_page.h"

namespace isthmus {

struct GatewayParts {
  const GatewayConfig& config;
  const Model& model;
  const Hubs& hubs;
  const ProblemList& problems;
  const ActiveGateway* active;  // null while our own objects are missing
  std::chrono::steady_clock::time_point started;
  std::vector<ServerCounts> servers;
};

// One line of JSON (admin/replies.h); for flows, followed by one line per flow.
[[nodiscard]] AdminAnswer answer_request(const AdminRequest& request, const GatewayParts& parts);

// The page for Prometheus (observe/metrics_page.h).
[[nodiscard]] std::string answer_metrics(const GatewayParts& parts);

}  // namespace isthmus
