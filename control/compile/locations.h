// Where an endpoint of a cluster may be: inside the cluster's prefixes; a node at its underlay address; and, where no
// node of the cluster has a CIDR for its pods (Azure CNI with a pod subnet, ENI), a pod at any address that admission
// allows and that no cluster has. Plain functions of the fleet. Thread: any.
#pragma once

#include <string>

#include "control/compile/fleet.h"
#include "control/model/objects.h"

namespace isthmus {

struct Location {
  std::string refused;    // why it may not be there ("which lies in cluster west"); empty: it may
  bool prefixed = false;  // in a prefix of its cluster
};

// `node`: it is a node, not a pod. `cluster`: its own.
[[nodiscard]] Location locate(const Fleet& fleet, const FleetCluster& cluster, bool node, const IpAddress& address);

// Whether the identity is that of a node: what has it is no pod, and no route to it is ours to make.
[[nodiscard]] bool is_node_identity(Identity identity);

}  // namespace isthmus
