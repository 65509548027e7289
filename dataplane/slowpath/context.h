// A worker's context as its slow path sees it: with caches, and results for the burst in hand.
// Thread: the owning worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/conntrack/direction_block.h"
#include "dataplane/packet/frame.h"
#include "dataplane/publish/worker_context.h"
#include "dataplane/slowpath/prefetch_state.h"
#include "dataplane/slowpath/unknown_sources.h"
#include "dataplane/slowpath/verdict_cache.h"

namespace isthmus {

struct SlowContext : WorkerContext {
  using WorkerContext::WorkerContext;

  UnknownSources unknown_sources;
  VerdictCache verdicts;
  std::array<PrefetchState, kMaxBurst> prefetched;  // the burst's undecided packets, in order
  unsigned prefetched_count = 0;
  InsertedKeys inserted;                          // of connections that this burst has inserted
  std::array<DirectionBlock, kMaxBurst> scratch;  // decisions used for one packet and not stored in the table
  unsigned scratch_used = 0;
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
