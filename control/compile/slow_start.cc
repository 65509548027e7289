#include "control/compile/slow_start.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace isthmus {

std::chrono::nanoseconds shared_time() {
  using std::chrono::nanoseconds;
  const auto steady = [] { return nanoseconds(std::chrono::steady_clock::now().time_since_epoch()); };
  static const nanoseconds kAhead = nanoseconds(std::chrono::system_clock::now().time_since_epoch()) - steady();
  return steady() + kAhead;
}

SlowStart::Time SlowStart::step() const { return std::max((window_ + Time(kSteps - 1)) / kSteps, Time(1)); }

unsigned SlowStart::steps() const { return static_cast<unsigned>((window_ + step() - Time(1)) / step()); }

void SlowStart::begin(Time now, Time window) {
  now_ = now;
  turned_on_ = window_ == Time(0);
  window_ = window;
  if (window_ == Time(0)) {
    backends_.clear();
  }
  for (auto& [key, backend] : backends_) {
    backend.seen = false;
    if (is_full(backend)) {
      backend.since.reset();
    }
  }
}

void SlowStart::see(const Key& key, ClusterId cluster, bool fresh) {
  if (window_ > Time(0)) {
    const auto it =
        backends_.try_emplace(key, Backend{cluster, fresh && !turned_on_ ? std::optional(now_) : std::nullopt}).first;
    it->second.seen = true;
  }
}

void SlowStart::restart(const Key& key) {
  if (const auto it = backends_.find(key); it != backends_.end()) {
    it->second.since = now_;
  }
}

bool SlowStart::is_full(const Backend& backend) const {
  return !backend.since || now_ / step() - *backend.since / step() >= static_cast<std::int64_t>(steps());
}

unsigned SlowStart::level(const Key& key) const {
  const auto it = backends_.find(key);
  if (it == backends_.end() || is_full(it->second)) {
    return full_level();
  }
  return static_cast<unsigned>(now_ / step() - *it->second.since / step()) + 1;
}

std::optional<SlowStart::Time> SlowStart::next_step() const {
  const bool all = std::all_of(backends_.begin(), backends_.end(), [&](auto& each) { return is_full(each.second); });
  return all ? std::nullopt : std::optional((now_ / step() + 1) * step());
}

bool SlowStart::lower(std::span<MaglevBackend> ring, std::span<const unsigned> levels, unsigned full) {
  if (std::adjacent_find(levels.begin(), levels.end(), std::not_equal_to<>()) == levels.end()) {
    return false;
  }
  std::uint32_t heaviest = 1;
  bool rounds = false;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    heaviest = std::max<std::uint32_t>(heaviest, ring[i].weight);
    rounds = rounds || ring[i].weight * levels[i] < full;
  }
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint16_t>::max();
  const std::uint64_t factor = rounds ? std::max(std::min(full, kMost / heaviest), 1u) : 1;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    ring[i].weight = static_cast<std::uint16_t>(std::max<std::uint64_t>(ring[i].weight * factor * levels[i] / full, 1));
  }
  return true;
}

}  // namespace isthmus
