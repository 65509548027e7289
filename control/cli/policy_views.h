// The answers to `isthmus policy` for people. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace isthmus {

// Handles all three answers: the list, the rules of an endpoint, and a trace.
[[nodiscard]] std::string policy_view(const nlohmann::json& policy);

}  // namespace isthmus
