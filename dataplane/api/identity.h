// Identities beside those of dataplane/base/types.h, above all scoped ones: 32-bit numbers of this gateway's own beside
// Cilium's 24 bits, never sent. Cilium allocates from the first number of a cluster's range on, so no number within a
// range is free for them.
#pragma once

#include "dataplane/base/types.h"

namespace isthmus::identity {

inline constexpr Identity kIngress{8};  // Cilium's, of an ingress or gateway API listener

inline constexpr unsigned kScopeShift = 24;
inline constexpr std::uint32_t kPrefixScope = 1, kUnlabelledPrefixScope = 3, kUnlabelledScope = 4;

// Of an endpoint that its hub publishes without labels: one for each cluster.
[[nodiscard]] constexpr Identity unlabelled(ClusterId cluster) noexcept {
  return Identity{kUnlabelledScope << kScopeShift | cluster.value()};
}
[[nodiscard]] constexpr bool is_unlabelled(Identity id) noexcept {
  return id.value() >> kScopeShift == kUnlabelledScope;
}
// Of all pods without labels at a prefix. A cluster of which no labels are known at all publishes a part of its pods
// only: there it is the identity of the prefix itself.
[[nodiscard]] constexpr bool is_unlabelled_prefix(Identity id) noexcept {
  return id.value() >> kScopeShift == kUnlabelledPrefixScope;
}
// As whom policy knows an endpoint without labels, given the identity of its longest prefix: so that rules about
// prefixes choose it, and rules about its cluster's pods do, which leave out an address that is no endpoint.
// `otherwise`: where the identity is not a prefix's.
[[nodiscard]] constexpr Identity unlabelled_at(Identity of_prefix, Identity otherwise) noexcept {
  constexpr std::uint32_t kUp = (kUnlabelledPrefixScope - kPrefixScope) << kScopeShift;
  if (is_unlabelled_prefix(of_prefix)) {
    return of_prefix;
  }
  return of_prefix.value() >> kScopeShift == kPrefixScope ? Identity{of_prefix.value() + kUp} : otherwise;
}

}  // namespace isthmus::identity
