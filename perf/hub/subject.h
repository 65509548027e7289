// The gateway under measurement, in a process of its own: the etcd source, the model, the compiler and the engine as
// the daemon has them, over pump devices. A control thread follows the hub; a worker thread carries settled connections
// and probes. Any failure ends the program.
#pragma once

#include <string>

#include "perf/hub/shared.h"
#include "perf/hub/synthetic.h"

namespace isthmus::perf {

// The endpoint whose identity the probes change, and the one of ours that they go to.
inline constexpr std::uint32_t kProbeCluster = 4, kProbeEndpoint = 1;
[[nodiscard]] std::uint32_t probe_identity(std::uint32_t probe);

// Until the phase is kDone.
void run_subject(const SyntheticFleet& fleet, const std::string& client_config, Shared& shared);

}  // namespace isthmus::perf
