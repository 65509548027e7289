// What the kernel's flow maps cost: memory, and the thread that fills and empties them.
#pragma once

#include <cstdint>

#include "perf/figures/figures.h"

namespace isthmus::perf {

// Fills the maps with both courses of so many flows, and empties them again. Ends the program with a message when the
// flows do not fit.
[[nodiscard]] Figure measure_maps(const char* name, std::uint32_t flows);

}  // namespace isthmus::perf
