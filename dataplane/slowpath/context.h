// A worker's context as its slow path sees it: with caches, and the decision in hand.
// Thread: the owning worker.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "dataplane/packet/frame.h"
#include "dataplane/publish/worker_context.h"
#include "dataplane/slowpath/decision.h"
#include "dataplane/slowpath/known_ends.h"
#include "dataplane/slowpath/patterns.h"
#include "dataplane/slowpath/prefetch.h"
#include "dataplane/slowpath/refusals.h"
#include "dataplane/slowpath/stray_limits.h"

namespace isthmus {

struct SlowContext : WorkerContext {
  // `standing`: of as many places as the worker's part of the connection table has.
  SlowContext(SharedState& shared_state, WorkerId worker_id, FramePool& frame_pool, Mailbox& mail_box,
              FlowEventQueue& events, Refusals standing = Refusals(1))
      : WorkerContext(shared_state, worker_id, frame_pool, mail_box, events), refusals(std::move(standing)) {}

  DecisionTables tables{shared.options, shared.endpoints, shared.flows->epochs(), shared.adjacencies,
                        shared.flows->affinities()};
  UnknownSources unknown_sources;
  VerdictCache verdicts;
  DecisionCaches caches{&unknown_sources, &verdicts};
  Refusals refusals;
  KnownEnds known_ends;
  Patterns patterns;
  PatternedOpening patterned;                     // of the packet in hand
  Decision decision;                              // of the packet in hand
  NewConnection opening;                          // the connection that it opens
  Prefetches prefetches;                          // of the burst's undecided packets
  InsertedKeys inserted;                          // of connections that this burst has inserted
  std::array<DirectionBlock, kMaxBurst> scratch;  // decisions used for one packet and not stored in the table
  unsigned scratch_used = 0;
  StrayLimits stray_limits{shared.options.icmp_errors_per_second};
  std::uint64_t random = 0x9e3779b97f4a7c15ULL;

  // xorshift64*: spreads translation ports; not cryptographic.
  [[nodiscard]] std::uint32_t next_random() noexcept {
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return static_cast<std::uint32_t>((random * 0x2545f4914f6cdd1dULL) >> 32);
  }
};

}  // namespace isthmus
