// The section `services`.
#include "config/load/field_kinds.h"
#include "config/load/fields.h"

namespace isthmus {

using namespace config_field;

void add_balancing_fields(std::vector<ConfigField>& fields) {
  fields.push_back(duration<std::uint64_t>(
      "services.slow_start", [](GatewayConfig& c) -> std::uint64_t& { return c.slow_start_ms; }, 0, kMaxSlowStartMs,
      "How long a backend that becomes ready beside others takes until it gets its whole share of the new connections, "
      "in eight steps from a ninth of it on. To the second. 0s: it gets it at once. A Service's annotation "
      "`isthmus.io/slow-start` takes its place. Give all gateways of a cluster the same."));
}

}  // namespace isthmus
