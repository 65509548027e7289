// What a gateway does to settled flows that are handed down while it has other work. In a stand's process; the pump
// runs on core 0, below the worker, so that each batch is forwarded before the next one: what is lost has been thrown
// away by somebody.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "perf/io/live_frames.h"
#include "perf/settled/gateway.h"

namespace isthmus::perf {

enum class Pressure : std::uint8_t {
  kNone,
  kReload,    // services, endpoints and a policy of the flows are published one after the other
  kFlood,     // first packets of connections that never get a reply, beside the flows
  kNewFlows,  // connections of two packets one way and one the other way, beside the flows
};

// Names of what under_pressure() returns. Lost: pumped, at no sink, and not in a counter of drops.
inline constexpr std::array kReloadMeasures = {"frames", "frames lost", "% through user space", "publishes a second",
                                               "% of the flows down afterwards"};
inline constexpr std::array kFloodMeasures = {
    "frames",       "frames lost",          "frames that are not the flood's in user space",
    "flood frames", "flood frames dropped", "% of the flows down afterwards"};
inline constexpr std::array kNewFlowsMeasures = {"new connections",
                                                 "new connections a second",
                                                 "frames lost",
                                                 "worker's CPU us per connection",
                                                 "CPU us of the hand-down thread per connection",
                                                 "% of the flows down afterwards"};

[[nodiscard]] SettledGatewayOptions gateway_under(Pressure pressure, std::uint32_t flows, bool hand_down);

// `settled`: the flows' frames, by Course. Empty: it failed, and standard error says why.
[[nodiscard]] std::vector<double> under_pressure(Pressure pressure, SettledGateway& gateway,
                                                 const std::array<std::unique_ptr<Traffic>, 2>& settled,
                                                 std::uint32_t flows, double seconds);

}  // namespace isthmus::perf
