// Sources whose endpoint is not published yet, and since when they have been seen. Direct-mapped, hence bounded; on a
// collision the newer source replaces the older one, whose time then starts again. Thread: its worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/types.h"

namespace isthmus {

class UnknownSources {
 public:
  // `hash` of the source, not 0.
  [[nodiscard]] Seconds since(std::uint64_t hash, Seconds now) noexcept {
    Entry& entry = entries_[hash % entries_.size()];
    if (entry.hash != hash) {
      entry = {hash, now};
    }
    return entry.since;
  }
  void erase(std::uint64_t hash) noexcept {
    if (Entry& entry = entries_[hash % entries_.size()]; entry.hash == hash) {
      entry = {};
    }
  }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    Seconds since;
  };
  std::array<Entry, 1024> entries_{};
};

}  // namespace isthmus
