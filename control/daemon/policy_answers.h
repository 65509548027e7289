// The answers to `isthmus policy`: the list, what applies to an endpoint, and traces. Thread: control; nothing changes.
#pragma once

#include <string>

#include "control/daemon/answers.h"
#include "control/observe/metrics_page.h"

namespace isthmus {

// One line of JSON. Precondition: parts.active is not null.
[[nodiscard]] std::string answer_policy(const AdminRequest& request, const GatewayParts& parts);
// Precondition: the same.
[[nodiscard]] PolicyMetrics policy_metrics(const GatewayParts& parts);

}  // namespace isthmus
