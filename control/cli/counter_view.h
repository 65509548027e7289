// `isthmus status --counters`: every counter of the data plane's list with its meaning; `isthmus drops`: why packets
// were dropped, and what was lost at the devices and refused by the tables. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace isthmus {

[[nodiscard]] std::string counters_view(const nlohmann::json& status);
// `all`: also what is at 0.
[[nodiscard]] std::string drops_view(const nlohmann::json& drops, bool all);

}  // namespace isthmus
