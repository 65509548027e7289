// The answers to `isthmus status`, services, endpoints, flows and drops, read from the gateway's parts as they are now.
// Thread: control; nothing is changed.
#pragma once

#include <chrono>
#include <string>

#include "config/model/gateway_config.h"
#include "control/admin/request.h"
#include "control/daemon/active_gateway.h"
#include "control/daemon/problem_list.h"
#include "control/model/model.h"
#include "control/source/source.h"

namespace isthmus {

struct GatewayParts {
  const GatewayConfig& config;
  const Model& model;
  const Source* source;  // null before the hub is opened
  const ProblemList& problems;
  const ActiveGateway* active;  // null while we wait for our own objects
  std::chrono::steady_clock::time_point started;
};

// One line of JSON (admin/replies.h).
[[nodiscard]] std::string answer_request(const AdminRequest& request, const GatewayParts& parts);

}  // namespace isthmus
