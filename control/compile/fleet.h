// The fleet as this gateway sees it: its clusters and gateways, which clusters are linked with ours, and which cluster
// owns each address. The rest of the compiler resolves addresses and cluster names against it.
//
// Kept by FleetBuilder. Nobody else changes it.
// Thread: control. Failure: an object that conflicts with another (same cluster id, same underlay address, overlapping
// prefixes) is left out and reported in `problems`. In a conflict, our own cluster and gateway win, then whichever had
// the value in the previous fleet.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/compile/compiler.h"
#include "control/model/model.h"
#include "dataplane/api/types.h"

namespace isthmus {

class PrefixClaims;

struct FleetGateway {
  std::string name;
  IpAddress underlay;  // where its tunnels end
  L4Port port;         // UDP
  std::string where;   // source location of its Gateway object; empty for this gateway
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;
};

struct FleetCluster {
  std::string name;
  ClusterId id;
  bool local = false;                  // our own cluster
  bool linked = false;                 // a profile lists it together with our own; true of our own
  std::vector<Prefix> prefixes;        // of pods and nodes; sorted and disjoint, within the cluster and across clusters
  std::vector<FleetGateway> gateways;  // sorted by name; of our own cluster, this gateway included
  std::string where;                   // source location of its Cluster object
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;  // of its nodes; kNone: native routing
  AliasPrefixes aliases{};                    // `prefixes` has the aliases of those that it calls otherwise itself
  bool pods_ipv4 = false, pods_ipv6 = false;  // prefixes for its pods are claimed, whether admitted or not
  [[nodiscard]] bool has_pod_prefixes(Family family) const { return family == Family::kIpv4 ? pods_ipv4 : pods_ipv6; }
  // Whether its pods are reached in the tunnels of their own nodes. `direct_return`: CompilerOptions. Nodes do not know
  // aliases: only gateways translate them.
  [[nodiscard]] bool by_nodes(bool direct_return) const {
    return direct_return && !local && linked && gateways.empty() && aliases.empty() &&
           encapsulation == EncapsulationKind::kGeneve;
  }
  [[nodiscard]] bool native() const { return !local && encapsulation == EncapsulationKind::kNone; }
};

struct Fleet {
  std::map<std::string, FleetCluster> clusters;  // by name; only those with a valid, unique id
  OwnGateway own;
  Admission admission;  // what members may claim
  std::vector<Problem> problems;

  // Null when there is no such cluster. The pointers live as long as this Fleet.
  [[nodiscard]] const FleetCluster* find(const std::string& name) const;
  [[nodiscard]] const FleetCluster* find(ClusterId id) const;
  // The cluster that has a prefix containing the address; null when none has.
  [[nodiscard]] const FleetCluster* owner(const IpAddress& address) const;
  // Both addresses of what has an alias, by one of them; by its own only in our cluster.
  [[nodiscard]] std::optional<AddressForms> forms_of(const IpAddress& address) const;
  // The gateway with this underlay address, for messages: "gateway west-1".
  [[nodiscard]] std::optional<std::string> gateway_at(const IpAddress& address) const;
  [[nodiscard]] bool is_tunnel_end(const IpAddress& address) const;

  std::map<Prefix, std::string> ranges;          // the prefixes of all clusters, with their clusters
  std::map<IpAddress, std::string> tunnel_ends;  // of the gateways in `clusters`, with their names
  bool ipv4_without_prefixes = false, ipv6_without_prefixes = false;  // a cluster claims none for its pods
};

// The address of a gateway at which both ends can reach each other: they choose alike, so that packets come from where
// ours go to. IPv4 where both have it: it needs no UDP checksum.
[[nodiscard]] IpAddress tunnel_end(const OwnGateway& own, const GatewayObject& object);

// What policy is told of the fleet: its clusters and ranges, and who holds each of the prefixes `moved` now.
[[nodiscard]] PolicyClusters policy_clusters(const Fleet& fleet);
// Those of a cluster whose addresses it has been admitted with: what it calls by the others is not its own.
[[nodiscard]] AliasPrefixes aliases_in_force(const Fleet& fleet, const FleetCluster& cluster);
// Names those of our own and linked clusters that are not in force.
void append_alias_problems(const CompilerOptions& options, const Fleet& fleet, PrefixClaims& prefixes,
                           std::vector<Problem>& problems);
// The aliases of those own addresses that nobody has in the fleet, and only one cluster calls so, or ours does.
[[nodiscard]] AliasPrefixes policy_own_forms(const Fleet& fleet);
[[nodiscard]] std::vector<PolicyRange> policy_ranges(const std::vector<Prefix>& moved, const Fleet& fleet);

}  // namespace isthmus
