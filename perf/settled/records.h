// Flows in the kernel's maps, as an engine hands them down (xdp/abi.h), both courses of each. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "perf/settled/streams.h"
#include "xdp/loader/kernel_flows.h"

namespace isthmus::perf {

// Numbers of the devices.
inline constexpr std::uint32_t kUnderlayNumber = 0, kLocalNumber = 1;

struct SettledRecords {
  std::vector<isthmus_flow_key> keys;
  std::vector<isthmus_flow> flows;
};
// Flow n has the leases 2n + 1 and 2n + 2.
[[nodiscard]] SettledRecords settled_records(Work work, std::uint32_t flows);
// Writes what the flows refer to: tunnel and next hops, and their leases, which hold.
void write_settled_references(KernelFlows& maps, std::span<const isthmus_flow> flows);

}  // namespace isthmus::perf
