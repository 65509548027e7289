// The gateway under measurement, in its own process: the daemon's etcd source, model, compiler and engine, on pump
// devices. A control thread follows the hub; a worker thread forwards settled connections and probes. Any failure ends
// the program.
#pragma once

#include <cstdint>
#include <string>

#include "perf/hub/shared.h"
#include "perf/hub/synthetic.h"

namespace isthmus::perf {

// The endpoint whose identity the probes change.
inline constexpr std::uint32_t kProbeCluster = 4, kProbeEndpoint = 1;
[[nodiscard]] std::uint32_t probe_identity(std::uint32_t probe);

// Runs until the phase is kDone. `policy_churn`: policies changed per second in that phase.
void run_subject(const SyntheticFleet& fleet, std::uint32_t policy_churn, const std::string& client_config,
                 Shared& shared);

}  // namespace isthmus::perf
