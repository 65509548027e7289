// What the engine tells of its counters, from the parts that count. Plain functions. Thread: control.
#pragma once

#include "dataplane/api/engine.h"
#include "dataplane/stats/counters.h"
#include "dataplane/tables/adjacency_table.h"

namespace isthmus {

// A row for each drop reason, without packets.
void name_drops(EngineCounters& sum);
// After name_drops(): what a worker has dropped.
void add_drops(EngineCounters& sum, const WorkerCounters& worker);
void add_next_hops(EngineCounters& sum, const AdjacencyTable::Counts& next_hops);

}  // namespace isthmus
