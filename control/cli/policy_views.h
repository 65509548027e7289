// The answers to `isthmus policy` as a person reads them. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace isthmus {

// Which of the three answers it is, its members tell.
[[nodiscard]] std::string policy_view(const nlohmann::json& policy);

}  // namespace isthmus
