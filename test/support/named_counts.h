// All counters of an engine by name, so that a test can say exactly which of them a packet moves: "worker.hits",
// "connections.created", "tables.next_hops", "<device>.rx_packets", "drop.<reason>". Pure functions, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "dataplane/api/engine.h"

namespace isthmus::test {

using NamedCounts = std::map<std::string, std::uint64_t>;

inline constexpr std::string_view kDropPrefix = "drop.";

template <typename Counts>
void add_named(NamedCounts& named, const std::string& prefix, const Counts& counts) {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    named[prefix + std::string(row.name)] = counts.*row.value;
  }
}

[[nodiscard]] inline NamedCounts named_counts(const EngineCounters& counters) {
  NamedCounts named;
  add_named<WorkerCounts>(named, "worker.", counters);
  add_named<TableCounts>(named, "tables.", counters);
  add_named(named, "connections.", counters.connections);
  for (const DeviceStatus& device : counters.devices) {
    add_named(named, device.name + ".", device.counters);
  }
  for (const DropCount& drop : counters.drops) {
    named[std::string(kDropPrefix).append(drop.name)] = drop.packets;
  }
  return named;
}

// What has grown, and by how much.
[[nodiscard]] inline NamedCounts growth(const NamedCounts& before, const NamedCounts& after) {
  NamedCounts grown;
  for (const auto& [name, value] : after) {
    const auto earlier = before.find(name);
    const std::uint64_t was = earlier == before.end() ? 0 : earlier->second;
    if (value > was) {
      grown[name] = value - was;
    }
  }
  return grown;
}

}  // namespace isthmus::test
