// One worker's queue of flow events to control. Separate from the mailbox, so that a flood of drops cannot displace
// other messages; with a rate limit per verdict, so that a flood of one verdict cannot hide another. Events above the
// limit, or that find the queue full, are counted and discarded; a packet never waits.
//
// Threads: the worker puts, control takes. Owner: the worker. Failure: none.
#pragma once

#include <array>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdint>
#include <vector>

#include "dataplane/api/flow_event.h"
#include "dataplane/base/rate_limit.h"
#include "dataplane/stats/counters.h"

namespace isthmus {

class FlowEventQueue {
 public:
  static constexpr std::size_t kCapacity = 4096;

  // `per_second`: rate and burst size of each verdict.
  explicit FlowEventQueue(std::uint32_t per_second) noexcept
      : limits_{RateLimit(per_second), RateLimit(per_second), RateLimit(per_second)} {}

  // Worker. Call before building the event, so that a flood costs no more than this check.
  [[nodiscard]] bool within_budget(FlowVerdict verdict, std::uint64_t now_ns) noexcept {
    const auto kind = static_cast<std::size_t>(verdict);
    if (limits_[kind].take(now_ns)) {
      return true;
    }
    counts_[kind].sampled_out.add();
    return false;
  }
  void put(const FlowEvent& event) noexcept {
    Counts& counts = counts_[static_cast<std::size_t>(event.verdict)];
    if (queue_.push(event)) {
      counts.reported.add();
      ++pending_;
    } else {
      counts.lost.add();
    }
  }
  // Whether control should be woken now. Events are batched, so that a worker that opens many connections does not make
  // a system call in every round. `idle`: the worker is about to sleep.
  [[nodiscard]] bool should_wake(std::uint64_t now_ns, bool idle) noexcept {
    constexpr std::uint64_t kGatherNs = 5'000'000;
    constexpr unsigned kEnough = kCapacity / 8;
    if (pending_ == 0 || (!idle && pending_ < kEnough && now_ns - woken_ns_ < kGatherNs)) {
      return false;
    }
    pending_ = 0;
    woken_ns_ = now_ns;
    return true;
  }

  // Control. Appends what is there to `events`; at most one queue's length: the worker may put faster than is taken.
  void take_all(std::vector<FlowEvent>& events) {
    FlowEvent event;
    for (std::size_t left = kCapacity; left > 0 && take(event); --left) {
      events.push_back(event);
    }
  }
  [[nodiscard]] bool take(FlowEvent& event) noexcept { return queue_.pop(event); }
  [[nodiscard]] FlowEventCount count(FlowVerdict verdict) const noexcept {
    const Counts& counts = counts_[static_cast<std::size_t>(verdict)];
    return {counts.reported.get(), counts.sampled_out.get(), counts.lost.get()};
  }

 private:
  struct Counts {
    Counter reported, sampled_out, lost;
  };

  std::array<RateLimit, kFlowVerdicts> limits_;
  std::array<Counts, kFlowVerdicts> counts_;
  unsigned pending_ = 0;
  std::uint64_t woken_ns_ = 0;
  boost::lockfree::spsc_queue<FlowEvent, boost::lockfree::capacity<kCapacity>> queue_;
};

}  // namespace isthmus
