// What a rule's words choose, given what stands beside them: our cluster's name, services and CIDR groups of the model.
// Pure. Thread: control.
#pragma once

#include <string>
#include <vector>

#include "control/model/model.h"
#include "control/policy/selectors.h"

namespace isthmus {

// The selector as it counts for peers: of our own cluster, unless it names clusters or reserved labels itself.
[[nodiscard]] LabelSelector in_scope(LabelSelector selector, const std::string& cluster);

// Precondition: the rule has a condition on its peers. Adds what is missing in the model as problems, without a place.
[[nodiscard]] PeerChoice choose_peers(const PolicyRule& rule, const std::string& cluster, const Model& model,
                                      std::vector<Problem>& problems);
// Every prefix that must have an identity of its own so that the choice can be told from the addresses around it.
[[nodiscard]] std::vector<Prefix> prefixes_of(const PeerChoice& choice);

}  // namespace isthmus
