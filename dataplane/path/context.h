// State that the stages use. SharedState belongs to the engine and is shared by all workers; each worker has its own
// PathContext. A worker sets `snapshot` and `now` before each burst, inside its read section.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/api/engine.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/packet/frame.h"
#include "dataplane/path/prefetch_state.h"
#include "dataplane/path/rate_limit.h"
#include "dataplane/path/verdict_cache.h"
#include "dataplane/publish/quiescence.h"
#include "dataplane/publish/snapshot.h"
#include "dataplane/stats/counters.h"
#include "dataplane/tables/adjacency_table.h"
#include "dataplane/tables/endpoint_table.h"
#include "dataplane/worker/flow_events.h"
#include "dataplane/worker/mailbox.h"

namespace isthmus {

// Created by the engine before its workers and destroyed after them. Each member is safe for concurrent use.
struct SharedState {
  explicit SharedState(const EngineOptions& engine_options, unsigned workers)
      : options(engine_options),
        quiescence(workers + 1),
        control_slot(workers),
        endpoints(quiescence, engine_options.endpoints) {}

  EngineOptions options;
  Quiescence quiescence;  // one reader slot per worker, then one for control
  unsigned control_slot;
  std::atomic<const Snapshot*> snapshot{nullptr};
  EndpointTable endpoints;
  AdjacencyTable adjacencies;
  std::unique_ptr<FlowTable> flows;
};

// Frames to send on one device; flushed by the worker once per round.
struct TxBatch {
  static constexpr unsigned kCapacity = 4 * kMaxBurst;
  std::array<Frame, kCapacity> frames;
  unsigned count = 0;
};

// A complete frame that waits for the MAC address of its next hop; at most one per adjacency.
struct WaitingFrame {
  Frame frame;
  AdjacencyId adjacency;
  std::uint64_t since_ns = 0;
};

// Sources whose endpoint is not published yet, and since when they have been seen. Direct-mapped, hence bounded; on a
// collision the newer source replaces the older one, whose time then starts again.
struct UnknownSources {
  struct Entry {
    std::uint64_t hash = 0;
    Seconds since;
  };
  std::array<Entry, 1024> entries{};
  [[nodiscard]] Seconds since(std::uint64_t hash, Seconds now) noexcept {
    Entry& entry = entries[hash % entries.size()];
    if (entry.hash != hash) {
      entry = {hash, now};
    }
    return entry.since;
  }
  void erase(std::uint64_t hash) noexcept {
    if (Entry& entry = entries[hash % entries.size()]; entry.hash == hash) {
      entry = {};
    }
  }
};

enum class IcmpError : std::uint8_t { kPortUnreachable, kTooBig };
inline constexpr std::size_t kIcmpErrors = 2;

struct PathContext {
  PathContext(SharedState& shared_state, WorkerId worker_id, FramePool& frame_pool, Mailbox& mail_box,
              FlowEventQueue& events)
      : shared(shared_state),
        worker(worker_id),
        pool(frame_pool),
        mailbox(mail_box),
        flow_events(events),
        icmp_limit(shared_state.options.icmp_errors_per_second) {}

  SharedState& shared;
  WorkerId worker;
  FramePool& pool;
  Mailbox& mailbox;
  FlowEventQueue& flow_events;
  const Snapshot* snapshot = nullptr;
  Seconds now;               // connection table's clock
  std::uint64_t now_ns = 0;  // monotonic
  WorkerCounters counters;
  std::vector<TxBatch> tx;  // by DeviceId
  std::array<WaitingFrame, 64> waiting{};
  unsigned waiting_count = 0;
  KindLimits<kIcmpErrors> icmp_limit;
  UnknownSources unknown_sources;
  VerdictCache verdicts;
  std::array<PrefetchState, kMaxBurst> prefetched;  // the burst's undecided packets, in order
  unsigned prefetched_count = 0;
  InsertedKeys inserted;                          // of connections that this burst has inserted
  std::uint64_t drops_reported = 0;               // bitmap by index in the burst: admission has reported the drop
  std::array<DirectionBlock, kMaxBurst> scratch;  // decisions used for one packet and not stored in the table
  unsigned scratch_used = 0;
  std::uint16_t ip_id = 0;  // IP identification of the next packet we build
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
