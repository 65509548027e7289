// Answers `isthmus status`, services, endpoints, connections, flows and drops from the present state of the gateway's
// parts. Changes nothing.
#pragma once

#include <chrono>
#include <functional>
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
  bool serving;                 // it has published its first tables
  std::chrono::steady_clock::time_point started;
  std::vector<ServerCounts> servers;
};

// An answer in three parts, as a turn has them (loop/turns.h): what is begun on the loop goes on with `work`, which
// reads model and compiler and nothing of the loop's, and ends with `finish`, on the loop again.
struct PendingAnswer {
  std::function<void()> work;
  std::function<std::string()> finish;
};

// Of every request but for flows: one line of JSON (admin/replies.h).
[[nodiscard]] PendingAnswer begin_answer(const AdminRequest& request, const GatewayParts& parts);
// Of a gateway that does not serve yet, without a turn: a status without what the model has, for all else an error.
[[nodiscard]] std::string answer_unserved(const AdminRequest& request, const GatewayParts& parts);
// On the loop: a line of JSON, followed by one line per flow.
[[nodiscard]] AdminAnswer answer_flows(const FlowQuery& query, const ActiveGateway& active);
// The page for Prometheus (observe/metrics_page.h).
[[nodiscard]] PendingAnswer begin_metrics(const GatewayParts& parts);

}  // namespace isthmus
