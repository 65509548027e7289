// `isthmus status --hub`: every part of the hubs with its state, last event and refused values. Thread: any.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace isthmus {

// `status` is the content of a status reply.
[[nodiscard]] std::string hub_view(const nlohmann::json& status);

}  // namespace isthmus
