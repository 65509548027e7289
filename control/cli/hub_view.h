// `isthmus status --hub`: every part of the hubs, with its state, its lag and what is refused. Thread: any.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace isthmus {

// `status` is the content of a status reply.
[[nodiscard]] std::string hub_view(const nlohmann::json& status);

}  // namespace isthmus
