// The section `health`.
#include "config/load/field_kinds.h"
#include "config/load/fields.h"

namespace isthmus {

using namespace config_field;

void add_health_fields(std::vector<ConfigField>& fields) {
  constexpr std::uint64_t kLongestHealthTime = 3'600'000;  // an hour
  fields.push_back(duration<std::uint64_t>(
      "health.interval", [](GatewayConfig& c) -> std::uint64_t& { return c.health_interval_ms; }, 10, 60'000,
      "Time between two probes of a peer gateway."));
  fields.push_back(number<unsigned>(
      "health.misses", [](GatewayConfig& c) -> unsigned& { return c.health_misses; }, 1, kMaxHealthMisses,
      "Consecutive probes without an answer after which a peer is unreachable."));
  fields.push_back(number<unsigned>(
      "health.recover", [](GatewayConfig& c) -> unsigned& { return c.health_recover; }, 1, 1000,
      "Consecutive answers after which an unreachable peer is alive again."));
  fields.push_back(duration<std::uint64_t>(
      "health.hold", [](GatewayConfig& c) -> std::uint64_t& { return c.health_hold_ms; }, 0, kLongestHealthTime,
      "How long connections keep their backend in a cluster that became unreachable."));
  fields.push_back(duration<std::uint64_t>(
      "health.path_mtu_interval", [](GatewayConfig& c) -> std::uint64_t& { return c.health_path_mtu_ms; }, 0,
      kLongestHealthTime,
      "Time between two checks of how long packets the underlay carries to a peer gateway, with a probe of that "
      "length. 0s: it is not probed, and what routers of the underlay say is taken for ten minutes."));
}

}  // namespace isthmus
