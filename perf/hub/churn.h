// What changes in the fleet while it is measured. Blocks; threads: one per call. Failure: as Writer.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "perf/hub/shared.h"
#include "perf/hub/synthetic.h"

namespace isthmus::perf {

// Changes per second.
struct ChurnRates {
  std::uint32_t endpoints = 1000, nodes = 25, services = 100, policies = 25;
};

// Writes what the phase changes to the etcd at `address` (host:port) until `stop`. Nothing when the
// phase is quiet, or changes what the gateway's process has from its own cluster (policies).
void churn(Phase phase, const ChurnRates& rates, const SyntheticFleet& fleet, const std::string& address,
           const std::atomic<bool>& stop);

}  // namespace isthmus::perf
