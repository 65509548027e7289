#include "dataplane/worker/engine_counts.h"

#include "dataplane/stats/drop_reason.h"

namespace isthmus {

void name_drops(EngineCounters& sum) {
  for (const DropReasonInfo& info : kDropReasonInfo) {
    sum.drops.push_back({info.name, info.text, info.hint, info.cilium_code, 0, 0, 0});
  }
}

void add_drops(EngineCounters& sum, const WorkerCounters& worker) {
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    DropCount& drop = sum.drops[i];
    drop.packets += worker.drops[i].packets.get();
    drop.bytes += worker.drops[i].bytes.get();
    drop.egress += worker.drops_from_local[i].packets.get();
    drop.egress_bytes += worker.drops_from_local[i].bytes.get();
    drop.ingress += worker.drops_from_fabric[i].packets.get();
    drop.ingress_bytes += worker.drops_from_fabric[i].bytes.get();
  }
}

void add_next_hops(EngineCounters& sum, const AdjacencyTable::Counts& next_hops) {
  sum.next_hops = next_hops.now;
  sum.next_hops_capacity = next_hops.capacity;
  sum.next_hops_refused = next_hops.refused;
  sum.next_hops_evicted = next_hops.evicted;
}

}  // namespace isthmus
