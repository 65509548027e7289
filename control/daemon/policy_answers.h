// Answers `isthmus policy`: the list, the rules of an endpoint, and traces. Changes nothing. Thread: that
// which has the turn with model and compiler (loop/turns.h).
#pragma once

#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/admin/request.h"
#include "control/compile/compiler.h"
#include "control/model/model.h"
#include "control/observe/metrics_page.h"

namespace isthmus {

struct PolicySources {
  const GatewayConfig& config;
  const Model& model;
  const Compiler& compiler;
  std::vector<SourceProblem> problems;  // of the hubs
};

// One line of JSON.
[[nodiscard]] std::string answer_policy(const AdminRequest& request, const PolicySources& sources);
[[nodiscard]] PolicyMetrics policy_metrics(const PolicySources& sources);

}  // namespace isthmus
