// How the connection table of this process began. A plain value, told to operators.
#pragma once

#include <cstdint>

namespace isthmus {

enum class StateStart : std::uint8_t {
  kNew,        // there was none before
  kAdopted,    // an earlier process left it
  kDiscarded,  // an earlier process left one that cannot be used
  kNotKept,    // in private memory: it ends with the process
};

}  // namespace isthmus
