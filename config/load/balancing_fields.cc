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
  fields.push_back(number<unsigned>(
      "services.outlier_ejection.failures", [](GatewayConfig& c) -> unsigned& { return c.outlier_failures; }, 0,
      kMaxOutlierFailures,
      "Connections to a backend in a row that do not open, after which it takes no new ones for a time: refused, "
      "unreachable or unanswered, of two clients of the own cluster at least. 0: backends are never left "
      "out. A Service's annotation `isthmus.io/outlier-ejection` (`off`, or `failures=5, time=30s, max_percent=50`) "
      "takes the place of this and the next two."));
  fields.push_back(duration<std::uint64_t>(
      "services.outlier_ejection.time", [](GatewayConfig& c) -> std::uint64_t& { return c.outlier_time_ms; }, 1000,
      kMaxOutlierSeconds* std::uint64_t{1000},
      "For how long. Twice as long each time that it fails again before it has answered, up to 16 times and an hour. "
      "To the second."));
  fields.push_back(number<unsigned>(
      "services.outlier_ejection.max_percent", [](GatewayConfig& c) -> unsigned& { return c.outlier_max_percent; }, 1,
      100,
      "Of the backends that a cluster has for a port of the service, that are left out at a time: one at least, and "
      "never the last."));
  fields.push_back(choice<DirectReturn>(
      "services.dsr", [](GatewayConfig& c) -> DirectReturn& { return c.direct_return; },
      {{"none", DirectReturn::kNone}, {"geneve", DirectReturn::kGeneve}},
      "geneve: backends that are reached in the Geneve tunnels of their own Cilium nodes answer clients of our "
      "cluster themselves, in the VIP's name, so that nothing is translated back here: those of linked clusters "
      "with `encapsulation: geneve`, no Gateway object and no alias, whose pods are then reached by their nodes, "
      "and ours with `devices.local.delivery: tunnel`. All those nodes must do so: Cilium's `loadBalancer.mode: "
      "dsr` with `dsrDispatch: geneve`; others drop such packets. They are told by Cilium's DSR option, of 12 "
      "bytes, or 24 for IPv6, in SYNs and in all of UDP. Not where our cluster has an alias."));
}

}  // namespace isthmus
