#include "perf/path/stages.h"

namespace isthmus::perf {

std::vector<std::pair<const char*, std::uint64_t>> take_stage_cycles() { return {}; }

}  // namespace isthmus::perf
