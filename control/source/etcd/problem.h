// Builds the problems of the etcd source. Internal to this folder. Thread: any.
#pragma once

#include <string>
#include <utility>

#include "control/model/objects.h"

namespace isthmus {

// `location`: a file or key; values of a hub have no lines.
[[nodiscard]] inline SourceProblem problem_at(std::string location, std::string what, std::string fix) {
  return {{std::move(location), 0}, std::move(what), std::move(fix)};
}

}  // namespace isthmus
