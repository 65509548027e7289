// The observer's own counters, since start. Plain values, any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace isthmus {

struct ObserverCounts {
  std::uint64_t seen = 0;       // flows received from the workers
  std::uint64_t unseen = 0;     // flows that the workers sampled out, or whose queue was full
  std::uint64_t overtaken = 0;  // flows that readers were too slow for
  std::size_t kept = 0, capacity = 0, readers = 0;
};

}  // namespace isthmus
