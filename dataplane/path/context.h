// What the stages may touch. SharedState belongs to the engine and is the same for all workers; PathContext is one
// worker's own. A worker fills `snapshot` and `now` before each burst, inside its read section.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/api/engine.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/packet/frame.h"
#include "dataplane/path/foreseen.h"
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

// Made by the engine before its workers, destroyed after them. Members are safe for many workers by themselves.
struct SharedState {
  explicit SharedState(const EngineOptions& engine_options, unsigned workers)
      : options(engine_options),
        quiescence(workers + 1),
        control_slot(workers),
        endpoints(quiescence, engine_options.endpoints) {}

  EngineOptions options;
  Quiescence quiescence;  // workers, then control
  unsigned control_slot;
  std::atomic<const Snapshot*> snapshot{nullptr};
  EndpointTable endpoints;
  AdjacencyTable adjacencies;
  std::unique_ptr<FlowTable> flows;
};

// Frames on their way out of one device; flushed by the worker once per round.
struct TxBatch {
  static constexpr unsigned kCapacity = 4 * kMaxBurst;
  std::array<Frame, kCapacity> frames;
  unsigned count = 0;
};

// A finished frame that waits for its next hop's MAC address: one per adjacency.
struct WaitingFrame {
  Frame frame;
  AdjacencyId adjacency;
  std::uint64_t since_ns = 0;
};

// Sources whose endpoint is not published yet, and since when: direct-mapped, so bounded; a clash starts anew.
struct UnknownSources {
  struct Place {
    std::uint64_t hash = 0;
    Seconds since;
  };
  std::array<Place, 1024> places{};
  [[nodiscard]] Seconds since(std::uint64_t hash, Seconds now) noexcept {
    Place& place = places[hash % places.size()];
    if (place.hash != hash) {
      place = {hash, now};
    }
    return place.since;
  }
  void forget(std::uint64_t hash) noexcept {
    if (Place& place = places[hash % places.size()]; place.hash == hash) {
      place = {};
    }
  }
};

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
  Seconds now;               // of the connection table's clock
  std::uint64_t now_ns = 0;  // monotonic
  WorkerCounters counters;
  std::vector<TxBatch> tx;  // by DeviceId
  std::array<WaitingFrame, 64> waiting{};
  unsigned waiting_count = 0;
  RateLimit icmp_limit;
  UnknownSources unknown_sources;
  VerdictCache verdicts;
  std::array<Foreseen, kMaxBurst> foreseen;  // of the burst's undecided packets, in order
  unsigned foreseen_count = 0;
  MadeKeys made;
  std::uint64_t refusals_told = 0;                // of the burst's packets by place: admission has reported their end
  std::array<DirectionBlock, kMaxBurst> scratch;  // decisions for one packet that the table did not take
  unsigned scratch_used = 0;
  std::uint16_t ip_id = 0;  // of the next outer header
  std::uint64_t random = 0x9e3779b97f4a7c15ULL;

  // xorshift64*: spreads translation ports; not a secret.
  [[nodiscard]] std::uint32_t next_random() noexcept {
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return static_cast<std::uint32_t>((random * 0x2545f4914f6cdd1dULL) >> 32);
  }
};

}  // namespace isthmus
