#include "control/compile/locations.h"

#include "dataplane/api/identity.h"

namespace isthmus {

Location locate(const Fleet& fleet, const FleetCluster& cluster, bool node, const IpAddress& address) {
  const FleetCluster* at = fleet.owner(address);
  if (at == &cluster) {
    return {{}, true};
  }
  if (at != nullptr) {
    return {"which lies in cluster " + at->name, false};
  }
  const Prefix host(address, 128);
  if (node) {
    return {fleet.admission.refuse_node(cluster.name, address), false};
  }
  if (cluster.has_pod_prefixes(address.family())) {
    return {"which lies outside its cluster's prefixes", false};
  }
  std::string why = fleet.admission.refuse_pods(cluster.name, host);
  if (why.empty()) {
    why = fleet.admission.takes_reserved(cluster.name, host, true);
  }
  if (why.empty()) {
    why = fleet.admission.takes_network(cluster.name, host);
  }
  if (why.empty() && fleet.is_tunnel_end(address)) {
    why = "which is the underlay address of a gateway";
  }
  return {why, false};
}

bool is_node_identity(Identity identity) {
  constexpr Identity kKubeApiserver{7};
  return identity == identity::kHost || identity == identity::kRemoteNode || identity == kKubeApiserver;
}

}  // namespace isthmus
