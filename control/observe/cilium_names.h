// Cilium's own words for what it counts and prints: drop reasons and reserved identities. Pure functions, any thread.
#pragma once

#include <optional>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

struct CiliumDrop {
  unsigned code;
  std::string_view text;  // of its command line and metrics
  std::string_view name;  // of its flow API
};
// The reason under one of Cilium's numbers; null when it has none.
[[nodiscard]] const CiliumDrop* find_cilium_drop(unsigned code);

// "world"; empty when the number is not reserved.
[[nodiscard]] std::string_view reserved_identity_name(Identity id);
[[nodiscard]] std::optional<Identity> reserved_identity(std::string_view name);

}  // namespace isthmus
