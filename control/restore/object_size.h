// What an object of the model takes in memory, about. Pure; any thread.
#pragma once

#include <cstddef>

#include "control/model/objects.h"

namespace isthmus {

[[nodiscard]] std::size_t object_bytes(const ObjectKey& key, const ObjectValue& value);

}  // namespace isthmus
