// The cycle account per stage. perf-path-stages is perf-path with another run_path(), which reads the clock between the
// stages; perf-path itself takes no account and runs the engine as it is.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace isthmus::perf {

// Cycles per stage since the last call, in order; empty where no account is taken. Thread: the one that ran the path.
[[nodiscard]] std::vector<std::pair<const char*, std::uint64_t>> take_stage_cycles();

}  // namespace isthmus::perf
