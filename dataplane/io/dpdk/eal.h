// DPDK's environment (EAL), which a process has once: started with the first device, from what the configuration says.
// It takes no core of its own, no telemetry, and no device but those that are asked for. Thread: control.
#pragma once

#include <string>

#include "dataplane/api/devices.h"
#include "dataplane/base/result.h"

namespace isthmus {

// Starts it, or says why it could not be. Later calls say the same; options that differ then are an error, which names
// them. `physical`: a device of the PCI bus is wanted, which needs huge pages.
[[nodiscard]] Status start_eal(const DpdkMemory& memory, bool physical);

// What DPDK has written to its log since the last call: the lines, without "EAL: " and the like; at most the last few.
[[nodiscard]] std::string take_dpdk_log();

}  // namespace isthmus
