// State that all workers of an engine share. Created by the engine before its workers and destroyed after them. Each
// member is safe for concurrent use.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>

#include "dataplane/api/engine.h"
#include "dataplane/base/quiescence.h"
#include "dataplane/conntrack/flow_table.h"
#include "dataplane/fragments/fragment_table.h"
#include "dataplane/publish/heard_probes.h"
#include "dataplane/publish/opening_memory.h"
#include "dataplane/publish/outstanding_probes.h"
#include "dataplane/tables/adjacency_table.h"
#include "dataplane/tables/endpoint_table.h"
#include "dataplane/tables/snapshot.h"

namespace isthmus {

// Of an engine: SharedState::shares_with_host has a bit for each.
inline constexpr std::size_t kMaxDevices = 64;

struct SharedState {
  explicit SharedState(const EngineOptions& engine_options, unsigned workers)
      : options(engine_options),
        quiescence(workers + 2),
        control_slot(workers),
        hand_down_slot(workers + 1),
        endpoints(quiescence, engine_options.endpoints),
        adjacencies(quiescence),
        fragments({engine_options.fragments, std::uint64_t{engine_options.fragment_timeout.value()} * 1'000'000'000}) {}

  EngineOptions options;
  Quiescence quiescence;  // one reader slot per worker, then one for control, then one for the hand-down thread
  unsigned control_slot, hand_down_slot;
  std::atomic<const Snapshot*> snapshot{nullptr};
  EndpointTable endpoints;
  AdjacencyTable adjacencies;
  FragmentTable fragments;
  std::unique_ptr<FlowTable> flows;
  OutstandingProbes probes, sized_probes;
  HeardProbes heard_probes;
  OpeningMemory openings;
  std::uint64_t shares_with_host = 0;  // Device::shares_with_host(), a bit for each DeviceId; since before the workers
  std::atomic<bool> draining{false};   // is said to peers' probes; control writes, workers read
  // Control, after `snapshot` was replaced and before a word is incremented: peers that have come, changed or gone.
  std::function<void(const Snapshot&, const std::set<PeerId>&)> peers_moved = [](const Snapshot&,
                                                                                 const std::set<PeerId>&) {};
};

}  // namespace isthmus
