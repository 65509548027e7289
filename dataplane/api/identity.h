// Identities in addition to those of dataplane/base/types.h, mainly scoped ones: 32-bit numbers local to this gateway,
// outside Cilium's 24 bits, never sent. (Cilium allocates any number of a cluster's range, so none of them is free.)
#pragma once

#include "dataplane/base/types.h"

namespace isthmus::identity {

inline constexpr Identity kIngress{8};  // Cilium's identity of an Ingress or Gateway API listener

inline constexpr unsigned kScopeShift = 24;
inline constexpr std::uint32_t kPrefixScope = 1, kUnlabelledPrefixScope = 3, kUnlabelledScope = 4, kLocalScope = 5,
                               kReceiverScope = 6;
inline constexpr Identity kFirstPrefix{kPrefixScope << kScopeShift};

// Identity of pods of our own cluster whose labels are known and that have none of Cilium's. `number`: below 2^24.
[[nodiscard]] constexpr Identity local(std::uint32_t number) noexcept {
  return Identity{kLocalScope << kScopeShift | number};
}
[[nodiscard]] constexpr bool is_local(Identity id) noexcept { return id.value() >> kScopeShift == kLocalScope; }
// Without its scope.
[[nodiscard]] constexpr std::uint32_t local_number(Identity id) noexcept {
  return id.value() & ((1u << kScopeShift) - 1);
}

// Identity as which pods receive (policy.h, Receiver). `number`: below 2^24.
[[nodiscard]] constexpr Identity receiver(std::uint32_t number) noexcept {
  return Identity{kReceiverScope << kScopeShift | number};
}
[[nodiscard]] constexpr bool is_receiver(Identity id) noexcept { return id.value() >> kScopeShift == kReceiverScope; }

// Identity of endpoints whose hub publishes no labels: one per cluster.
[[nodiscard]] constexpr Identity unlabelled(ClusterId cluster) noexcept {
  return Identity{kUnlabelledScope << kScopeShift | cluster.value()};
}
[[nodiscard]] constexpr bool is_unlabelled(Identity id) noexcept {
  return id.value() >> kScopeShift == kUnlabelledScope;
}
// Whether this is the identity of all pods without labels at a prefix. For a cluster without any known labels, which
// publishes only part of its pods, it is the identity of the prefix itself.
[[nodiscard]] constexpr bool is_unlabelled_prefix(Identity id) noexcept {
  return id.value() >> kScopeShift == kUnlabelledPrefixScope;
}
// The identity that policy uses for an endpoint without labels, given the identity of its longest prefix. With it,
// rules about prefixes select the endpoint, and so do rules about its cluster's pods, which exclude addresses that are
// not endpoints. `otherwise`: returned if `of_prefix` is not a prefix's identity.
[[nodiscard]] constexpr Identity unlabelled_at(Identity of_prefix, Identity otherwise) noexcept {
  constexpr std::uint32_t kUp = (kUnlabelledPrefixScope - kPrefixScope) << kScopeShift;
  if (is_unlabelled_prefix(of_prefix)) {
    return of_prefix;
  }
  return of_prefix.value() >> kScopeShift == kPrefixScope ? Identity{of_prefix.value() + kUp} : otherwise;
}

}  // namespace isthmus::identity
