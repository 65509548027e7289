// What an engine cannot be started with. Plain function. Thread: any.
#pragma once

#include "dataplane/api/engine.h"

namespace isthmus {

// The number of workers; or what is wrong, with its fix.
[[nodiscard]] Result<unsigned> check_options(const EngineOptions& options);

}  // namespace isthmus
