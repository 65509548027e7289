// What the compiler made of the model, for people: plain values for the command line and the admin socket.
// Thread: control; each is a copy and stays as it was.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/model/model.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct GatewayView {
  std::string name;
  IpAddress underlay;
  L4Port port;
  PeerId peer;          // kNoPeer: this gateway itself
  bool silent = false;  // has answered before and does no longer
};

struct ClusterView {
  std::string name;
  ClusterId id;
  bool local = false, linked = false;
  bool silent = false;    // no gateway of it answers or has a route: its backends take no new flows
  bool held_out = false;  // silent beyond the hold: established flows leave it too
  std::vector<Prefix> prefixes;
  std::vector<GatewayView> gateways;
};

// A tunnel end we know.
struct PeerView {
  PeerId id;
  std::string name, cluster;  // of the Gateway object, or of the node
  ClusterId cluster_id;
  IpAddress underlay;
  L4Port port;
  bool gateway = false, silent = false;
  AdjacencyId adjacency;
};

enum class BackendState : std::uint8_t {
  kActive,    // takes new flows, if the affinity rule chose its cluster
  kDraining,  // keeps its flows, takes no new ones: terminating, or weight 0
  kSilent,    // as draining, because no gateway of its cluster answers
};
[[nodiscard]] const char* to_text(BackendState state);

struct BackendView {
  std::string cluster;
  IpAddress address;
  L4Port port;
  BackendId id;
  BackendState state = BackendState::kActive;
  std::uint16_t weight = 0;
  std::uint32_t slots = 0;  // of the ring, which has `ring_slots`; 0: takes no new flows
};

// One family's frontends of one port: the same for each VIP of that family.
struct ServicePortView {
  ServicePort port;
  Family family = Family::kIpv4;
  std::uint32_t ring_slots = 0;  // 0: nobody takes new flows
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
  std::vector<ServiceMember> members;  // clusters that have a Service of this name and are linked with ours
};
[[nodiscard]] const char* to_text(ServiceAffinity affinity);

struct EndpointView {
  IpAddress address;
  std::string cluster;
  ClusterId cluster_id;
  Identity identity;
  bool node = false;             // an address of a node, not of a pod
  std::string name_space, name;  // the pod's; of a node, only the name
  std::string on_node;           // where the pod runs, when known
};

}  // namespace isthmus
