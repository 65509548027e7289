// The backends of a port of a global service, and which of them take new flows. Pure functions.
//
// A candidate is active (ready, not terminating, weight above 0) or draining: it keeps its flows and takes no new ones.
// Terminating pods that still serve take new flows only when no active one is left (KEP-1669), and so do those of a
// cluster whose gateways are drained, and outliers. A pod that is not ready, and not serving while it terminates, is no
// candidate at all.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "control/compile/endpoints.h"
#include "control/compile/fleet.h"
#include "control/model/model.h"

namespace isthmus {

// Best first; kLeft: ready, in a cluster whose gateways are drained; kEjected: ready, but an outlier (outliers.h).
enum class Fitness : std::uint8_t { kActive, kLeft, kEjected, kTerminating, kDrained };

struct Candidate {
  IpAddress address;
  L4Port port;
  const FleetCluster* cluster = nullptr;
  Fitness fitness = Fitness::kActive;
  std::uint16_t weight = 0;
  bool unreachable = false;  // no gateway of its cluster responds or has a route, nor does its own node
  bool ready = false;        // whatever its weight, and not terminating
  // Of our own cluster.
  bool on_our_node = false;
  bool hinted = false;                              // it says for the clients of which zones it is
  bool for_our_node = false, for_our_zone = false;  // by hints where it has any of the kind, else by where it runs
};

// How far a new connection may go: anywhere; to our own cluster; to the node of this gateway, or where that has none,
// to our own cluster.
enum class Reach : std::uint8_t { kFleet, kCluster, kNode };

// The ports of a slice that match a Service port by protocol and name. An unnamed Service port matches an unnamed slice
// port, or else the only slice port of its protocol.
[[nodiscard]] std::vector<L4Port> matching_ports(const SliceObject& slice, const ServicePort& port);

// Where this gateway runs.
struct OwnPlace {
  std::string node;  // the Node that has its underlay address; empty: none
  std::string zone;  // that Node's
  friend bool operator==(const OwnPlace&, const OwnPlace&) = default;
};

[[nodiscard]] OwnPlace find_place(const Model& model, const Fleet& fleet, const EndpointSet& endpoints);

// Addresses of backends outside their cluster's prefixes.
struct OutOfPrefix {
  std::set<IpAddress> left_out, published;
};

// What is known of the way to a cluster.
struct ClusterWay {
  bool unreachable = false, draining = false;
  bool by_nodes = false;  // each backend by its own node, TCP and UDP
};

// Appends the candidates of one cluster for a port and family, one per address and L4 port; of duplicates, the one
// with the lowest Fitness value. Outside its prefixes, a cluster has the addresses of its published pods, where no
// node has a CIDR.
void append_candidates(const std::vector<Model::Found<SliceObject>>& slices, const ServicePort& port, Family family,
                       const Fleet& fleet, const EndpointSet& endpoints, const FleetCluster& cluster, ClusterWay way,
                       const OwnPlace& place, std::vector<Candidate>& candidates, OutOfPrefix& out_of_prefix);

// Moves the candidates that take new flows to the front, sorts both parts by address and port, and returns the size of
// the front part. `affinity` is that of our own Service: only local (or only remote) candidates take new flows as long
// as there is one that can; and of those, by `distribution`, only the nearest. Hints count where all of our own
// cluster's that could take new flows have some, as in Kubernetes.
[[nodiscard]] std::size_t select_backends(std::vector<Candidate>& candidates, ServiceAffinity affinity, Reach reach,
                                          TrafficDistribution distribution);

}  // namespace isthmus
