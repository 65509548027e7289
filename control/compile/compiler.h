// Compiles the model to the tables of one gateway: clusters, peers, endpoints, services with their rings, policy.
//
// Owner: control/daemon. Thread: control. Cost is proportional to the change: compile() re-evaluates only the services,
// pods, nodes and policies named in the change set; a change of a Cluster, Gateway or profile may re-evaluate all.
// Failure: objects that conflict are left out, or keep their previous state, and are listed as problems with source
// location and fix. Ids (peers, services, backends) are local to this process; a released id is quarantined before it
// is reused.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model/outlier_ejection.h"
#include "control/admission/rules.h"
#include "control/compile/incumbents.h"
#include "control/compile/slow_start.h"
#include "control/compile/views.h"
#include "control/model/model.h"
#include "control/policy/policy_set.h"
#include "dataplane/api/maglev.h"
#include "dataplane/api/openings.h"
#include "dataplane/api/tables.h"

namespace isthmus {

// The parameters of its own gateway that the engine needs to start, from the hub's Gateway and Cluster objects.
struct OwnGateway {
  ClusterId cluster;
  ClusterBits cluster_bits;
  IpAddress underlay;
  L4Port port;
  std::vector<IpAddress> more{};  // further underlay addresses; one of each family is used
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;
  // How the nodes of our cluster reach its pods.
  EncapsulationKind cluster_encapsulation = EncapsulationKind::kVxlan;

  // Our underlay address of this family; nullptr: none.
  [[nodiscard]] const IpAddress* address(Family family) const;
  [[nodiscard]] bool is_ours(const IpAddress& a) const {
    const IpAddress* own = address(a.family());
    return own != nullptr && *own == a;
  }
  // Where the engine expects tunnel packets: of our kind at our port, of the others at their defaults, for nodes.
  [[nodiscard]] TunnelEnds tunnel_ends() const;
  friend bool operator==(const OwnGateway& a, const OwnGateway& b) {
    return a.cluster == b.cluster && a.cluster_bits.shift == b.cluster_bits.shift && a.underlay == b.underlay &&
           a.port == b.port && a.more == b.more && a.encapsulation == b.encapsulation &&
           a.cluster_encapsulation == b.cluster_encapsulation;
  }
};
// The error says which object is missing or invalid, and how to fix it.
[[nodiscard]] Result<OwnGateway> find_own_gateway(const Model& model, const std::string& cluster,
                                                  const std::string& gateway);

// The options of `isthmus allocate`, as remedies have it, that say where this gateway's hub has what.
struct AllocateAt {
  std::string fleet = "--hub DIR";           // profiles
  std::string own_services = "--hub DIR";    // the Services of our own cluster
  std::string other_services = "--hub DIR";  // of others
};

struct CompilerOptions {
  std::string cluster, gateway;  // names of our own objects in the hub
  Realm realm;
  std::uint32_t ring_slots = kMaglevSlots;
  std::vector<IpAddress> own_addresses;  // source translation addresses; none may be a VIP
  PolicySettings policy;
  AdmissionRules admission;
  std::vector<ReservedAddress> reserved = {};  // that no member may claim
  bool own_node_tunnels = false;               // our cluster's nodes are peers: their pods are reached in their tunnels
  Incumbents incumbents = {};                  // who had what before a restart
  std::chrono::seconds slow_start{0};          // of services that do not say their own; 0: none
  OutlierEjection outliers = {};               // the same
  bool direct_return = false;                  // backends on nodes with Geneve need no gateway of their cluster
  std::function<std::chrono::nanoseconds()> clock = shared_time;  // that slow start and outliers go by
  AllocateAt allocate_at = {};
};

// Reachability as determined by health checks. In effect until the next set_reachability().
struct Reachability {
  std::vector<PeerId> down_peers;           // gateways that get nothing: unreachable, or drained while others serve
  std::vector<ClusterId> ejected_clusters;  // clusters unreachable beyond the hold time: their backends are removed
  // All their gateways that are not unreachable are drained: new flows go to backends elsewhere, if there are any.
  std::vector<ClusterId> draining_clusters;
  std::vector<PeerId> left_peers{};  // of down_peers, the drained ones, which forward what still comes
};

struct CompileResult {
  TableDelta delta;
  std::vector<EndpointEntry> upsert;
  std::vector<IpAddress> remove;
  std::vector<Problem> problems;      // all current ones (the first 100 of each kind)
  bool gateways_changed = false;      // a peer that is a gateway may have come, gone or changed: for health
  std::vector<IpAddress> lost_peers;  // underlay addresses that no peer has any more
  // Where the node must send what goes to our own cluster, its nodes that are peers, and clusters with native routing
  // may be another.
  bool local_routes_changed = false;
  bool disputes_changed = false;  // of disputed_addresses()
  // When a backend that starts slowly gets more, or an ejected one returns, and compile() is to be called again.
  std::optional<std::chrono::nanoseconds> again_after;
  std::vector<EjectionChange> ejections;
  bool names_changed = false;  // a service appeared, disappeared or changed VIPs: for the DNS sink
};

class Compiler {
 public:
  // Finds or creates the adjacency of the next hop towards an underlay address; kNoAdjacency when there is no route.
  using NextHop = std::function<AdjacencyId(const IpAddress&)>;

  // `model` must outlive the compiler.
  Compiler(CompilerOptions options, const Model& model, NextHop next_hop);
  ~Compiler();
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  // Brings the tables up to date with the model and returns what to publish, in any order (endpoints first is best).
  // Until our own Cluster and Gateway objects have been seen, the result holds only problems.
  [[nodiscard]] CompileResult compile(const ModelChanges& changes);
  // Takes effect at the next compile().
  void set_reachability(Reachability reachability);
  // How connections to backends of watched services opened; `lost`: not all was heard. Takes effect at the next
  // compile().
  void note_openings(std::vector<OpeningOutcome> openings, bool lost);
  // Addresses that no member may claim, instead of those of the options. Takes effect at the next compile(). False:
  // they are the same.
  bool set_reserved(std::vector<ReservedAddress> reserved);
  // The kernel's routes changed: the next compile() resolves every next hop again.
  void refresh_next_hops();

  [[nodiscard]] std::vector<ClusterView> clusters() const;
  // By the cluster that has them: as EndpointSet::disputed().
  [[nodiscard]] std::map<std::string, std::vector<IpAddress>> disputed_addresses() const;
  [[nodiscard]] std::vector<PeerView> peers() const;     // by id
  [[nodiscard]] std::vector<PeerView> gateways() const;  // the peers that are gateways, by underlay address
  [[nodiscard]] std::optional<PeerView> find_peer(PeerId id) const;
  [[nodiscard]] std::size_t peer_count() const;
  [[nodiscard]] std::size_t service_count() const;
  [[nodiscard]] std::size_t frontend_count() const;
  [[nodiscard]] std::size_t ejected_count() const;  // backends that are left out as outliers
  // As services(), but without their ports and backends, which are many.
  [[nodiscard]] std::vector<ServiceView> services_without_ports() const;
  // As services(), but one at a time, until `visit` returns false.
  void visit_services(const std::function<bool(const ServiceView&)>& visit) const;
  [[nodiscard]] const std::vector<NodeRoute>& node_routes() const;  // by prefix
  [[nodiscard]] std::vector<ServiceView> services() const;          // global services, by name
  // Calls `visit` for every endpoint, in no order, until it returns false.
  void visit_endpoints(const std::function<bool(const EndpointView&)>& visit) const;
  // The endpoint at the address, if there is one; one of our own also by its own address.
  [[nodiscard]] std::optional<EndpointView> find_endpoint(const IpAddress& address) const;
  // Both addresses of what is known by an alias, by one of them; its own by itself only in our cluster.
  [[nodiscard]] std::optional<AddressForms> forms_of(const IpAddress& at) const;
  [[nodiscard]] std::size_t endpoint_count() const;
  [[nodiscard]] std::string cluster_name(ClusterId id) const;  // empty when unknown
  [[nodiscard]] std::string service_name(ServiceId id) const;  // "namespace/name", empty when unknown
  [[nodiscard]] std::string peer_name(PeerId id) const;
  // The policy, file and line of a rule id in an engine verdict; nothing for kNoRule.
  [[nodiscard]] std::optional<RuleName> rule_name(RuleId id) const;
  [[nodiscard]] const PolicySet& policy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isthmus
