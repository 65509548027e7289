// Cilium's names of drop reasons and reserved identities. Pure functions, any thread.
#pragma once

#include <optional>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

struct CiliumDrop {
  unsigned code;
  std::string_view text;  // in its command line and metrics
  std::string_view name;  // in its flow API
};
// By Cilium's number; null when it has no such reason.
[[nodiscard]] const CiliumDrop* find_cilium_drop(unsigned code);

// "world"; empty when the number is not reserved.
[[nodiscard]] std::string_view reserved_identity_name(Identity id);
[[nodiscard]] std::optional<Identity> reserved_identity(std::string_view name);

}  // namespace isthmus
