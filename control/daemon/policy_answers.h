// Answers `isthmus policy`: the list, the rules of an endpoint, and traces. Thread: control; changes nothing.
#pragma once

#include <string>

#include "control/daemon/answers.h"
#include "control/observe/metrics_page.h"

namespace isthmus {

// One line of JSON. Precondition: parts.active is not null.
[[nodiscard]] std::string answer_policy(const AdminRequest& request, const GatewayParts& parts);
// Precondition: parts.active is not null.
[[nodiscard]] PolicyMetrics policy_metrics(const GatewayParts& parts);

}  // namespace isthmus
