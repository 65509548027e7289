// The compiler's results for display: plain values for the command line and the admin socket.
// Thread: control. Each is a copy, not updated later.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "control/model/model.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct GatewayView {
  std::string name;
  IpAddress underlay;
  L4Port port;
  PeerId peer;               // kNoPeer for this gateway itself
  bool unreachable = false;  // gets nothing: it no longer answers, or is drained while others of its cluster serve
};

struct ClusterView {
  std::string name;
  ClusterId id;
  bool local = false, linked = false;
  bool native = false;       // the underlay routes its addresses: no tunnel, no gateway
  bool unreachable = false;  // none of its gateways responds or has a route; its backends take no new flows
  bool ejected = false;      // unreachable beyond the hold time: its backends are removed, established flows included
  std::vector<Prefix> prefixes;
  AliasPrefixes aliases;      // what of them is called otherwise by the cluster itself
  std::vector<Prefix> hosts;  // of its endpoints outside them
  std::vector<GatewayView> gateways;
};

// Pods of our own cluster that are reached in the tunnel of their node.
struct NodeRoute {
  Prefix prefix;
  PeerId peer;
  friend bool operator==(const NodeRoute&, const NodeRoute&) = default;
};

// A known tunnel peer.
struct PeerView {
  PeerId id;
  std::string name, cluster;  // of the Gateway object, or of the node
  ClusterId cluster_id;
  IpAddress underlay;
  L4Port port;
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan, from_encapsulation = EncapsulationKind::kVxlan;
  bool gateway = false, unreachable = false;
  AdjacencyId adjacency;
};

enum class BackendState : std::uint8_t {
  kActive,       // takes new flows, if the affinity rule chose its cluster
  kDraining,     // keeps its flows, takes no new ones: terminating, weight 0, or its cluster's gateways are drained
  kUnreachable,  // like draining, because no gateway of its cluster is reachable
  kEjected,      // like draining, for a time, because connections to it do not open (outliers.h)
};
[[nodiscard]] const char* to_text(BackendState state);

// A backend of a service, by the address that the fleet knows.
using BackendPlace = std::tuple<IpAddress, L4Port, IpProtocol>;

struct BackendView {
  std::string cluster;
  IpAddress address;
  L4Port port;
  BackendId id;
  BackendState state = BackendState::kActive;
  std::uint16_t weight = 0;
  std::uint32_t slots = 0;  // of `ring_slots` in the Maglev ring; 0: takes no new flows
  unsigned percent = 100;   // of its weight that it has at present: less while it starts slowly
  std::optional<std::chrono::seconds> ejected_until{};  // by the compiler's clock
};

// A backend that has been left out of new connections, or has returned.
struct EjectionChange {
  ServiceName service;
  std::string cluster;
  IpAddress address;
  L4Port port;
  bool ejected = false;
  unsigned failures = 0;  // in a row, of an ejected one
  std::chrono::seconds time{0};
};

// One port of a service in one address family; the same for each VIP of that family.
struct ServicePortView {
  ServicePort port;
  Family family = Family::kIpv4;
  std::uint32_t ring_slots = 0;  // 0: no backend takes new flows
  std::vector<BackendView> backends;
};

struct ServiceMember {
  std::string cluster;
  bool global = false, shared = false;
};

struct ServiceView {
  ServiceName name;
  ServiceId id;
  std::vector<IpAddress> vips;
  std::vector<ServicePortView> ports;                 // per port and family that has a VIP
  ServiceAffinity affinity = ServiceAffinity::kNone;  // this cluster's
  bool client_ip_affinity = false;
  std::uint32_t affinity_seconds = 0;  // with client_ip_affinity
  std::vector<ServiceMember> members;  // linked clusters that have a Service of this name
  ServiceRules rules;                  // this cluster's
};
[[nodiscard]] const char* to_text(ServiceAffinity affinity);

// An address within a cluster whose pods are known by aliases outside.
struct AddressForms {
  IpAddress own, alias;
  friend bool operator==(const AddressForms&, const AddressForms&) = default;
};

struct EndpointView {
  IpAddress address;
  IpAddress own_address;  // as its cluster has it: another one where that has an alias
  std::string cluster;
  ClusterId cluster_id;
  Identity identity;
  bool node = false;     // an address of a node, not of a pod
  std::string ns, name;  // the pod's; of a node, only the name
  std::string on_node;   // where the pod runs, when known
};

}  // namespace isthmus
