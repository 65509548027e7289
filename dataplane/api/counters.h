// The data plane's counters as others read them: plain values, and the rows that describe them, from one list
// (dataplane/stats/counters.def). Threads: any. The counts of a running engine are read one by one: they may be apart
// by what happened in between.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace isthmus {

enum class CounterKind : std::uint8_t {
  kCount,    // grows from start
  kLoss,     // packets lost under no other name
  kRefusal,  // what was turned away; its packet is dropped under a drop reason, or tried again
  kLeft,     // left to the kernel: lost where nothing there takes it, as at the engine's end of its own veth pair
  kGauge,    // a present value
};

#define ISTHMUS_FIELD(field, ...) std::uint64_t field = 0;

// Of all workers together.
struct WorkerCounts {
#define ISTHMUS_WORKER_COUNTER ISTHMUS_FIELD
#include "dataplane/stats/counters.def"
};

// What a lease has counted (xdp/abi.h).
struct LeaseCount {
  std::uint64_t packets = 0, bytes = 0;
};

// Of the connection table.
struct FlowCounts {
#define ISTHMUS_CONNECTION_COUNTER ISTHMUS_FIELD
#define ISTHMUS_CONNECTION_STATE ISTHMUS_FIELD
#include "dataplane/stats/counters.def"
};

// Of the endpoint and next-hop tables, and of control's commands to the workers.
struct TableCounts {
#define ISTHMUS_TABLE_COUNTER ISTHMUS_FIELD
#include "dataplane/stats/counters.def"
};

// Of the queues of one device.
struct QueueCounters {
#define ISTHMUS_QUEUE_COUNTER ISTHMUS_FIELD
#include "dataplane/stats/counters.def"
};

// Of the steer program of an interface, since it was attached. Any process can read them, also while the engine is
// down.
struct SteerCounters {
#define ISTHMUS_STEER_COUNTER ISTHMUS_FIELD
#include "dataplane/stats/counters.def"
};

#undef ISTHMUS_FIELD

// What the list says of one counter of `Counts`. The texts are static and end in a zero.
template <typename Counts>
struct CounterRow {
  std::uint64_t Counts::*value;
  std::string_view name;  // of the field
  CounterKind kind;
  std::string_view json;  // path of its member in the status, or in its device; dots separate members
  std::string_view metric, unit, text, hint;

  // Whether the list of drops has it.
  [[nodiscard]] constexpr bool lost() const noexcept {
    return kind == CounterKind::kLoss || kind == CounterKind::kRefusal || kind == CounterKind::kLeft;
  }
};

// The rows of a struct above, in the order of the list.
template <typename Counts>
inline constexpr std::array<CounterRow<Counts>, 0> kCounterRows{};

#define ISTHMUS_ROW(counts, field, kind, json, metric, unit, text, hint) \
  CounterRow<counts>{&counts::field, #field, CounterKind::k##kind, json, metric, unit, text, hint},

template <>
inline constexpr auto kCounterRows<WorkerCounts> = std::to_array<CounterRow<WorkerCounts>>({
#define ISTHMUS_WORKER_COUNTER(...) ISTHMUS_ROW(WorkerCounts, __VA_ARGS__)
#include "dataplane/stats/counters.def"
});

template <>
inline constexpr auto kCounterRows<FlowCounts> = std::to_array<CounterRow<FlowCounts>>({
#define ISTHMUS_CONNECTION_COUNTER(...) ISTHMUS_ROW(FlowCounts, __VA_ARGS__)
#define ISTHMUS_CONNECTION_STATE(...) ISTHMUS_ROW(FlowCounts, __VA_ARGS__)
#include "dataplane/stats/counters.def"
});

template <>
inline constexpr auto kCounterRows<TableCounts> = std::to_array<CounterRow<TableCounts>>({
#define ISTHMUS_TABLE_COUNTER(...) ISTHMUS_ROW(TableCounts, __VA_ARGS__)
#include "dataplane/stats/counters.def"
});

template <>
inline constexpr auto kCounterRows<QueueCounters> = std::to_array<CounterRow<QueueCounters>>({
#define ISTHMUS_QUEUE_COUNTER(...) ISTHMUS_ROW(QueueCounters, __VA_ARGS__)
#include "dataplane/stats/counters.def"
});

template <>
inline constexpr auto kCounterRows<SteerCounters> = std::to_array<CounterRow<SteerCounters>>({
#define ISTHMUS_STEER_COUNTER(...) ISTHMUS_ROW(SteerCounters, __VA_ARGS__)
#include "dataplane/stats/counters.def"
});

#undef ISTHMUS_ROW

// Adds each count of `more` to that of `sum`. Not for gauges of one and the same table.
template <typename Counts>
constexpr void add_counts(Counts& sum, const Counts& more) noexcept {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    sum.*row.value += more.*row.value;
  }
}

}  // namespace isthmus
