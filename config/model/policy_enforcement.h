// What an endpoint may do that no policy selects, or whose policies are not known yet, and how it is written. Plain
// values.
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

// What holds for this cluster's endpoints while the policies are not known, because a hub was not read yet.
enum class UntilListed : std::uint8_t { kDeny, kAllow };

inline constexpr std::array<EnumName<UntilListed>, 2> kUntilListedNames{{
    {"deny", UntilListed::kDeny},
    {"allow", UntilListed::kAllow},
}};

// Which clusters' pods a selector of peers means that names no cluster.
enum class SelectorScope : std::uint8_t {
  kAgents,  // as the agents of this cluster are configured; where that is not known, its own
  kOwn,     // this cluster's: policy-default-local-cluster of Cilium, the default since 1.19
  kAny      // any cluster's: Cilium without it
};

inline constexpr std::array<EnumName<SelectorScope>, 3> kSelectorScopeNames{{
    {"auto", SelectorScope::kAgents},
    {"true", SelectorScope::kOwn},
    {"false", SelectorScope::kAny},
}};

}  // namespace isthmus
