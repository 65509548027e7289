// When changes are published: a single one at once, those of a burst together, at most one publish per millisecond.
// Owner: Gateway. Thread: control.
#pragma once

#include <algorithm>
#include <chrono>

namespace isthmus {

class PublishPace {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kInterval = std::chrono::milliseconds(1);

  // When to publish changes that arrived by `now`.
  [[nodiscard]] Clock::time_point due(Clock::time_point now) const { return std::max(now, last_ + kInterval); }
  // To be called at the end of a publish, so that a slow one still leaves time for other work.
  void published(Clock::time_point now) { last_ = now; }

 private:
  Clock::time_point last_;
};

}  // namespace isthmus
