// What io-bench measures: forwarders and the kernel's ways, and variations of how the path's devices are opened.
#pragma once

#include <vector>

#include "perf/io/turn.h"

namespace isthmus::perf {

// The name of what every figure is put beside; it is first in either list.
inline constexpr const char* kReference = "bare";

[[nodiscard]] std::vector<Subject> all_subjects();
// The whole path with the devices' defaults, and with one choice changed at a time.
[[nodiscard]] std::vector<Subject> path_variations();

}  // namespace isthmus::perf
