// Cycles per stage. perf-path-stages is perf-path with a run_path() that reads the TSC between the stages; perf-path
// itself measures no stages and runs the unmodified engine.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace isthmus::perf {

// Cycles per stage since the last call, in order; empty in perf-path. Thread: the one that ran the path.
[[nodiscard]] std::vector<std::pair<const char*, std::uint64_t>> take_stage_cycles();

}  // namespace isthmus::perf
