// When changes take effect: a lone one at once, and those of a storm together, so that it costs one publish a
// millisecond. Owner: Gateway. Thread: control.
#pragma once

#include <algorithm>
#include <chrono>

namespace isthmus {

class PublishPace {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kGather = std::chrono::milliseconds(1);

  // For changes that have come by now.
  [[nodiscard]] Clock::time_point due(Clock::time_point now) const { return std::max(now, last_ + kGather); }
  // At the end of a publish, so that a slow one leaves time for others' work, too.
  void published(Clock::time_point now) { last_ = now; }

 private:
  Clock::time_point last_;
};

}  // namespace isthmus
