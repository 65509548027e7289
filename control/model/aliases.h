// Aliases of clusters whose pods have the addresses of another's: what hubs say of the cluster's own addresses, in the
// form in which the rest of the fleet knows them. Plain functions of the values; one to one, so that to_own() takes
// back what to_alias() has done. What lies in no aliased prefix stays as it is. Thread: any.
#pragma once

#include <map>
#include <string>

#include "control/model/model.h"

namespace isthmus {

using ClusterAliases = std::map<std::string, AliasPrefixes>;  // by cluster; none are not listed

// What is configured, and what the profiles say of other clusters; of one block, the first of them by name.
[[nodiscard]] ClusterAliases read_aliases(const Model& model, const ClusterAliases& configured);
// Of one of them; empty: it has none.
[[nodiscard]] const AliasPrefixes& aliases_of(const ClusterAliases& aliases, const std::string& cluster);

// Pods, their slices and ip cache entries, nodes' prefixes and addresses inside them, and the prefixes of a Cluster
// object: replaced in the value, and in the key of an entry whose name is its address.
[[nodiscard]] ObjectDelta to_alias(const AliasPrefixes& aliases, ObjectDelta delta);
[[nodiscard]] ObjectDelta to_own(const AliasPrefixes& aliases, ObjectDelta delta);
[[nodiscard]] ObjectKey to_alias(const AliasPrefixes& aliases, ObjectKey key);
// Whether objects of the kind have addresses that aliases replace.
[[nodiscard]] bool has_aliases(ObjectKind kind);

}  // namespace isthmus
