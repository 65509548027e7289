// Minimises a set of prefixes. Thread: any; a pure function.
#pragma once

#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// The smallest sorted set that covers the same addresses: contained prefixes are dropped and adjacent halves merged.
[[nodiscard]] std::vector<Prefix> merge_prefixes(std::vector<Prefix> prefixes);

}  // namespace isthmus
