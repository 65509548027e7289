// The fewest prefixes that cover the same addresses. Thread: any; a pure function.
#pragma once

#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// Contained ones are dropped, halves of one block merged; sorted.
[[nodiscard]] std::vector<Prefix> merge_prefixes(std::vector<Prefix> prefixes);

}  // namespace isthmus
