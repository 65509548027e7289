// From the model to tables, for one gateway: clusters, peers, endpoints, services with their rings.
//
// Owner: control/daemon. Thread: control. compile() costs what changed: only services, pods and nodes named in the
// change set are looked at; a change of the fleet's own objects (clusters, gateways, profiles) looks at all. What does
// not fit together is left out, or stays as it was, and is listed as a problem with its place and remedy. Numbers
// (peers, services, backends) are this process's own and keep their meaning while anything refers to them; a number set
// free waits in a long queue before it is used again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/compile/views.h"
#include "control/model/model.h"
#include "control/policy/policy_set.h"
#include "dataplane/api/maglev.h"
#include "dataplane/api/tables.h"

namespace isthmus {

// What an engine must know of its own gateway before it can start; from the hub's Gateway and Cluster objects.
struct OwnGateway {
  ClusterId cluster;
  ClusterBits cluster_bits;
  IpAddress underlay;
  L4Port port;
  friend bool operator==(const OwnGateway& a, const OwnGateway& b) {
    return a.cluster == b.cluster && a.cluster_bits.shift == b.cluster_bits.shift && a.underlay == b.underlay &&
           a.port == b.port;
  }
};
// The error says which object is missing or does not fit, and what to write where.
[[nodiscard]] Result<OwnGateway> find_own_gateway(const Model& model, const std::string& cluster,
                                                  const std::string& gateway);

struct CompilerOptions {
  std::string cluster, gateway;  // names of our own objects in the hub
  Realm realm;
  std::uint32_t ring_slots = kMaglevSlots;
  std::vector<IpAddress> own_addresses;  // translation addresses: no VIP may be one of them
  PolicySettings policy;
};

// What health found out. Kept until the next one.
struct Silence {
  std::vector<PeerId> peers;        // gateways that have answered before and do no longer
  std::vector<ClusterId> held_out;  // clusters silent for longer than the hold: their backends no longer stand
};

struct CompileResult {
  TableDelta delta;
  std::vector<EndpointEntry> upsert;
  std::vector<IpAddress> remove;
  std::vector<Problem> problems;  // all that stand now (of a kind, the first 100)
  bool peers_changed = false;     // for health and views: the set of gateways moved
  bool names_changed = false;     // a service appeared, went, or its VIPs moved: for the DNS sink
};

class Compiler {
 public:
  // Finds or makes the adjacency of the next hop towards an underlay address; kNoAdjacency when there is no route.
  using NextHop = std::function<AdjacencyId(const IpAddress&)>;

  // `model` must outlive the compiler.
  Compiler(CompilerOptions options, const Model& model, NextHop next_hop);
  ~Compiler();
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  // Brings the tables up to the model; what comes back is to be published in any order (endpoints first is best).
  // While our own Cluster or Gateway object has never been seen there is nothing but a problem.
  [[nodiscard]] CompileResult compile(const ModelChanges& changes);
  // Takes effect at the next compile().
  void set_silence(Silence silence);
  // The kernel's routes moved: the next compile() asks for every next hop again.
  void refresh_next_hops();

  [[nodiscard]] std::vector<ClusterView> clusters() const;
  [[nodiscard]] std::vector<PeerView> peers() const;        // by id
  [[nodiscard]] std::vector<ServiceView> services() const;  // global ones, by name
  // Calls `visit` for every endpoint until it returns false; in no order.
  void visit_endpoints(const std::function<bool(const EndpointView&)>& visit) const;
  // Who has the address; nothing when nobody does.
  [[nodiscard]] std::optional<EndpointView> find_endpoint(const IpAddress& address) const;
  [[nodiscard]] std::size_t endpoint_count() const;
  [[nodiscard]] std::string cluster_name(ClusterId id) const;  // empty when unknown
  [[nodiscard]] std::string service_name(ServiceId id) const;  // "namespace/name", empty when unknown
  [[nodiscard]] std::string peer_name(PeerId id) const;
  // The policy, file and line behind a rule number of the engine's verdicts; nothing for kNoRule.
  [[nodiscard]] std::optional<RuleName> rule_name(RuleId id) const;
  [[nodiscard]] const PolicySet& policy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isthmus
