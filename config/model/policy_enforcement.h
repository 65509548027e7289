// What an endpoint may do that no policy selects, and how it is written. Plain value.
#pragma once

#include <array>
#include <cstdint>

#include "config/model/enum_name.h"

namespace isthmus {

enum class PolicyEnforcement : std::uint8_t {
  kDefault,  // an endpoint is open in a direction until a policy with rules for it selects the endpoint
  kAlways,   // closed from the start
  kNever     // policies are read and not enforced
};

inline constexpr std::array<EnumName<PolicyEnforcement>, 3> kPolicyEnforcementNames{{
    {"default", PolicyEnforcement::kDefault},
    {"always", PolicyEnforcement::kAlways},
    {"never", PolicyEnforcement::kNever},
}};

}  // namespace isthmus
