// Slow start of the backends of one service: one that becomes ready beside others gets a part of its weight at first,
// which rises in steps.
//
// Steps are taken at whole seconds of a clock that gateways share, at multiples of the step's length: gateways that
// learn of a backend between the same two steps give it the same weight at the same time, and a step changes the rings
// of all services at once. Only weights count that differ: backends that became ready together, such as those of a new
// service, are not slowed. What was ready when the hubs had said all that they have is not new.
//
// Owner: ServiceSet. Thread: control. A pure state machine: it knows only the time that it is given. Cannot fail.
#pragma once

#include <chrono>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <span>

#include "control/compile/views.h"
#include "dataplane/api/maglev.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Since 1970, of the wall clock as it was when the process first asked, and steady from then on.
[[nodiscard]] std::chrono::nanoseconds shared_time();

class SlowStart {
 public:
  using Key = BackendPlace;
  using Time = std::chrono::seconds;

  // One pass over the service: begin(), see() for each backend that is ready, end(). `window` 0: no slow start.
  void begin(Time now, Time window);
  // `fresh`: it counts as new where it was not there at the pass before.
  void see(const Key& key, ClusterId cluster, bool fresh);
  // It is new, from this pass on.
  void restart(const Key& key);
  // Forgets those that were not seen, but for the clusters that `stays` names: these are out of reach as a whole.
  template <typename Stays>
  void end(Stays&& stays);

  // Of full_level(); a backend that is not known has it.
  [[nodiscard]] unsigned level(const Key& key) const;
  [[nodiscard]] unsigned full_level() const { return steps() + 1; }
  // When a level rises next. Nothing: all are full.
  [[nodiscard]] std::optional<Time> next_step() const;

  // Lowers the weights of `ring` to their levels, of full_level(), where they differ; where that would round them, it
  // raises all of them first. Returns whether it did.
  static bool lower(std::span<MaglevBackend> ring, std::span<const unsigned> levels, unsigned full);

 private:
  static constexpr unsigned kSteps = 8;
  struct Backend {
    ClusterId cluster;
    std::optional<Time> since;  // it became ready; nothing: it is full
    bool seen = true;
  };
  [[nodiscard]] Time step() const;
  [[nodiscard]] unsigned steps() const;
  [[nodiscard]] bool is_full(const Backend& backend) const;

  Time now_{0}, window_{0};
  bool turned_on_ = true;  // by this begin(): what is there is not new
  std::map<Key, Backend> backends_;
};

template <typename Stays>
void SlowStart::end(Stays&& stays) {
  for (auto it = backends_.begin(); it != backends_.end();) {
    const bool gone = !it->second.seen && !stays(it->second.cluster);
    it = gone ? backends_.erase(it) : std::next(it);
  }
}

}  // namespace isthmus
