// Sources whose endpoint is not published yet, and since when they have been seen: for the bounded time for which their
// VNI is accepted.
//
// Sets of four entries, hence bounded, under a secret hash, so that nobody can choose sources that displace each other.
// An entry that has not been seen for a minute is free. A source that finds no room in its set is held to the time of
// the set's newest entry, so that many sources at once shorten their hold and never renew it. Remembered only while
// unpublished: forget() when the endpoint is known. Thread: its worker.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/packet/flow_key.h"

namespace isthmus {

class UnknownSources {
 public:
  static constexpr std::uint32_t kSeconds = 60;  // unseen: longer than any standing refusal hides a source

  // `hash`: address_hash() of the source.
  [[nodiscard]] Seconds since(std::uint64_t hash, Seconds now) noexcept {
    const std::uint64_t key = key_of(hash);
    Set& set = sets_[key % sets_.size()];
    Entry* room = nullptr;
    Seconds newest{0};
    for (Entry& entry : set) {
      const bool live = entry.key != 0 && now.value() - entry.last.value() <= kSeconds;
      if (live && entry.key == key) {
        entry.last = now;
        return entry.since;
      }
      room = live ? room : &entry;
      newest = live ? std::max(newest, entry.since) : newest;
    }
    if (room == nullptr) {
      return newest;
    }
    *room = {key, now, now};
    return now;
  }
  void forget(std::uint64_t hash) noexcept {
    const std::uint64_t key = key_of(hash);
    for (Entry& entry : sets_[key % sets_.size()]) {
      if (entry.key == key) {
        entry = {};
      }
    }
  }

 private:
  struct Entry {
    std::uint64_t key = 0;  // 0: free
    Seconds since, last;
  };
  using Set = std::array<Entry, 4>;
  static_assert(sizeof(Set) == 64);
  [[nodiscard]] std::uint64_t key_of(std::uint64_t hash) const noexcept { return flow_hash::mix(hash, secret_) | 1; }

  std::uint64_t secret_ = FlowHasher::random()(FlowKey{}) | 1;
  alignas(64) std::array<Set, 1024> sets_{};
};

}  // namespace isthmus
