// Resolves the peers of a rule, with our cluster's name and the Services and CIDR groups of the model. Pure. Thread:
// control.
#pragma once

#include <string>
#include <vector>

#include "config/model/policy_enforcement.h"
#include "control/model/model.h"
#include "control/policy/selectors.h"
#include "dataplane/api/types.h"

namespace isthmus {

// The selector as applied to peers, unless it names clusters or reserved labels itself: limited to our own cluster
// `cluster`, or to what belongs to any; and to the latter if it only excludes clusters.
[[nodiscard]] LabelSelector in_scope(LabelSelector selector, const std::string& cluster, SelectorScope scope);

// Precondition: the rule has a condition on its peers. References to missing objects are added to `problems`, without a
// source location. A block of addresses selects pods by either form: those of `own_forms` by their aliases too.
[[nodiscard]] PeerSelector resolve_peers(const PolicyRule& rule, const std::string& cluster, SelectorScope scope,
                                         const AliasPrefixes& own_forms, const Model& model,
                                         std::vector<Problem>& problems);
// Every prefix that needs an identity of its own to distinguish the selected addresses from those around them.
[[nodiscard]] std::vector<Prefix> prefixes_of(const PeerSelector& selector);

}  // namespace isthmus
