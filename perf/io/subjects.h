// What io-bench measures: our forwarders, kernel forwarding, and the path with variations of its device options.
#pragma once

#include <vector>

#include "perf/io/turn.h"

namespace isthmus::perf {

// The subject that all results are compared to; first in both lists.
inline constexpr const char* kReference = "bare";

[[nodiscard]] std::vector<Subject> all_subjects();
// The whole path with the devices' defaults, and with one option changed at a time.
[[nodiscard]] std::vector<Subject> path_variations();

}  // namespace isthmus::perf
