// The gateway's metrics in Prometheus' text format: under Cilium's and Hubble's names where these have one (cilium_*,
// hubble_*), under our own otherwise (isthmus_*). Pure function, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/admin/replies.h"
#include "control/compile/views.h"
#include "control/loop/stream_server.h"
#include "control/observe/flow_metrics.h"
#include "control/policy/policy_set.h"

namespace isthmus {

struct PolicyMetrics {
  PolicyCounts counts;
  bool audit = false;
  // Policies of this cluster with something unsupported or invalid: not in force at all, or in their previous version.
  std::size_t refused = 0, outdated = 0;
};

struct ServerCounts {
  std::string server;  // "admin", "metrics"
  StreamCounts counts;
};

struct MetricsInput {
  const StatusReply& status;
  std::vector<ClusterView> clusters;
  std::size_t identities = 0;  // CiliumIdentities known
  PolicyMetrics policy;
  const FlowMetrics* flows = nullptr;  // null while the gateway is not active
  // By policy: rules by labels that are not applied to endpoints known without labels.
  std::map<std::string, std::size_t> unapplied_rules{};
  std::uint64_t log_lines_lost = 0;
  std::vector<ServerCounts> servers{};
};

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

[[nodiscard]] std::string metrics_page(const MetricsInput& input);

}  // namespace isthmus
