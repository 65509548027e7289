// A status in which every counter of the data plane's list has a value of its own, so that a test can look for each in
// what the gateway answers. Plain values, any thread.
#pragma once

#include <cstdint>

#include "control/admin/replies.h"

namespace isthmus::test {

// Calls each(counts, rows) for every struct of the list in a status with one device.
template <typename Each>
void each_counts(StatusReply& status, Each&& each) {
  each(static_cast<WorkerCounts&>(status.counters), kCounterRows<WorkerCounts>);
  each(static_cast<TableCounts&>(status.counters), kCounterRows<TableCounts>);
  each(status.counters.connections, kCounterRows<FlowCounts>);
  each(status.devices.at(0).status.counters, kCounterRows<QueueCounters>);
  each(status.devices.at(0).steer.value(), kCounterRows<SteerCounters>);
}

[[nodiscard]] inline StatusReply counted_status() {
  StatusReply status;
  status.devices.push_back({"underlay", {"eth0", "af_xdp native", {}, true}, SteerCounters{}});
  std::uint64_t next = 70'001;
  each_counts(status, [&](auto& counts, const auto& rows) {
    for (const auto& row : rows) {
      counts.*row.value = next++;
    }
  });
  return status;
}

}  // namespace isthmus::test
