// Sources whose endpoint is not published yet, and since when they have been seen: for the bounded time for which their
// VNI is accepted.
//
// Sets of eight entries, hence bounded, under a secret hash, so that nobody can choose sources that displace each
// other. A cluster has two of a set at most, so that one that sends from many shortens only its own holds. An entry
// that has not been seen for a minute is free. A source that finds no room is held to the time of its cluster's newest
// entry in the set, or else of the set's, so that many sources at once shorten their hold and never renew it.
// Remembered only while unpublished: forget() when the endpoint is known. Thread: its worker.
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

  // `hash`: address_hash() of the source, which lies in the cluster's prefixes.
  [[nodiscard]] Seconds since(ClusterId cluster, std::uint64_t hash, Seconds now) noexcept {
    const std::uint64_t key = key_of(cluster, hash);
    Set& set = set_of(key);
    Entry* room = nullptr;
    unsigned own = 0;
    Seconds newest{0}, newest_own{0};
    for (Entry& entry : set) {
      const bool live = entry.key != 0 && now.value() - entry.last.value() <= kSeconds;
      if (live && entry.key == key) {
        entry.last = now;
        return entry.since;
      }
      if (!live) {
        room = &entry;
        continue;
      }
      newest = std::max(newest, entry.since);
      if ((entry.key & kClusterMask) == (key & kClusterMask)) {
        newest_own = std::max(newest_own, entry.since);
        ++own;
      }
    }
    if (own == kOwn) {
      return newest_own;
    }
    if (room == nullptr) {
      return newest;
    }
    *room = {key, now, now};
    return now;
  }
  void forget(ClusterId cluster, std::uint64_t hash) noexcept {
    const std::uint64_t key = key_of(cluster, hash);
    for (Entry& entry : set_of(key)) {
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
  static constexpr unsigned kOwn = 2;
  static constexpr std::uint64_t kClusterMask = 0xffff, kUsed = 1 << 16;
  using Set = std::array<Entry, 8>;
  static_assert(sizeof(Set) == 128);
  [[nodiscard]] std::uint64_t key_of(ClusterId cluster, std::uint64_t hash) const noexcept {
    return (flow_hash::mix(hash, secret_) & ~kClusterMask) | kUsed | cluster.value();
  }
  [[nodiscard]] Set& set_of(std::uint64_t key) noexcept { return sets_[(key >> 32) % sets_.size()]; }

  std::uint64_t secret_ = FlowHasher::random()(FlowKey{}) | 1;
  alignas(64) std::array<Set, 1024> sets_{};
};

}  // namespace isthmus
