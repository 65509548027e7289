// Global services compiled to frontends with their backends and Maglev rings, one service at a time.
//
// A service is global when the Service of any linked cluster is annotated global and its Namespace does not opt out.
// Its ports are the union of those Services' ports; where they conflict, the oldest Service takes precedence. Backends
// come from every cluster whose Service is global and shared; our own cluster's are included even when not shared.
// Affinity, source ranges and traffic policies are those of our own Service, as in a ClusterMesh; but for affinity to
// clusters, where we have none, of the oldest. ServiceImports contribute VIPs only. Thread: control.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "control/compile/backends.h"
#include "control/compile/claims.h"
#include "control/compile/fleet.h"
#include "control/compile/id_pool.h"
#include "control/compile/slow_start.h"
#include "control/compile/views.h"
#include "control/model/model.h"
#include "dataplane/api/maglev.h"
#include "dataplane/api/tables.h"

namespace isthmus {

class ServiceSet {
 public:
  // `slow_start`: of services that do not say their own (slow_start.h).
  ServiceSet(Realm realm, std::uint32_t ring_slots, SlowStart::Time slow_start)
      : realm_(realm), ring_slots_(ring_slots), slow_start_(slow_start) {}

  struct Inputs {
    const Model& model;
    const Fleet& fleet;
    const EndpointSet& endpoints;
    const VipClaims& claims;
    const std::set<ClusterId>& unreachable;  // their backends take no new flows
    const std::set<ClusterId>& ejected;      // their backends are removed
    const std::set<ClusterId>& draining;     // their backends take new flows only where no other can
    SlowStart::Time now{0};
    bool news = false;           // the hubs had said all that they have: what becomes ready now is new
    bool direct_return = false;  // CompilerOptions
  };
  // Where this gateway runs now. Returns the services to be recompiled because of that.
  [[nodiscard]] std::set<ServiceName> move_to(OwnPlace place);
  // Those in which a backend gets more of its weight at `now`, and when the next one does.
  [[nodiscard]] std::set<ServiceName> rising_at(SlowStart::Time now) const;
  [[nodiscard]] std::optional<SlowStart::Time> next_rise() const;
  // Recompiles one service and appends the changes to `delta`. True when it appeared or disappeared, or its VIPs
  // changed.
  bool refresh(const ServiceName& name, const Inputs& inputs, TableDelta& delta);

  [[nodiscard]] std::vector<ServiceView> views() const;
  [[nodiscard]] std::vector<ServiceView> views_without_ports() const;
  // One view at a time, by name, until `visit` returns false.
  void visit_views(const std::function<bool(const ServiceView&)>& visit) const;
  [[nodiscard]] std::size_t size() const { return services_.size(); }
  // Each VIP with each of its ports.
  [[nodiscard]] std::size_t frontends() const;
  [[nodiscard]] std::string name_of(ServiceId id) const;
  // The global services that have a Service object in that cluster.
  [[nodiscard]] std::set<ServiceName> members_of(const std::string& cluster) const;
  [[nodiscard]] std::set<ServiceName> names() const;
  // Adds the services that have a backend inside the prefix, or would if it were their cluster's.
  void append_users(const Prefix& prefix, std::set<ServiceName>& services) const;
  void append_problems(std::vector<Problem>& problems) const;

 private:
  struct Definition {
    const FleetCluster* cluster;
    Model::Found<ServiceObject> object;
  };
  struct PortState {
    ServicePortView view;
    std::vector<MaglevBackend> in_ring, in_fabric_ring;  // input of the rings
    std::shared_ptr<const BackendSet> set;
    std::shared_ptr<const BackendSet> from_fabric;  // FrontendEntry::from_fabric
  };
  using PortKey = std::tuple<L4Port, IpProtocol, Family>;
  struct Service {
    ServiceView view;
    std::map<PortKey, PortState> ports;
    std::map<FrontendKey, FrontendEntry> frontends;  // as published
    std::map<BackendPlace, BackendId> backend_ids;
    ServiceRules rules;
    SlowStart starting;
    std::shared_ptr<const SourceRanges> sources;
    std::set<IpAddress> addresses;  // of its backends, with those left out because of their addresses
    std::vector<Problem> problems;
  };

  // The global Services of that name, the oldest first; fills `members` with those of all linked clusters.
  [[nodiscard]] static std::vector<Definition> definitions(const ServiceName& name, const Inputs& inputs,
                                                           std::vector<ServiceMember>& members);
  // A problem for each cluster whose Service asks for what global services do not do.
  static void name_ignored(const std::vector<Definition>& definitions, Service& service);
  // What our own Service says, or the oldest.
  static void take_rules(const std::vector<Definition>& definitions, Service& service);
  [[nodiscard]] static std::vector<ServicePort> merge_ports(const std::vector<Definition>& definitions,
                                                            Service& service);
  void compile_port(Service& service, const ServicePort& port, Family family,
                    const std::vector<Definition>& definitions, const Inputs& inputs, PortState& state,
                    std::set<BackendPlace>& used);
  void compile_fabric_ring(const Service& service, const ServicePort& port, std::vector<Candidate> candidates,
                           PortState& state) const;
  [[nodiscard]] std::vector<Candidate> collect(Service& service, const ServicePort& port, Family family,
                                               const std::vector<Definition>& definitions, const Inputs& inputs) const;
  // Those of `candidates` that take new flows, by the weights that they have now. `levels` (may be null): of each,
  // where they have not all of theirs.
  [[nodiscard]] static std::vector<MaglevBackend> weigh(const Service& service, IpProtocol protocol,
                                                        std::span<const Candidate> candidates,
                                                        std::vector<unsigned>* levels);
  // Of slow start, before its ports are compiled and after it.
  void begin_starts(const Inputs& inputs, Service& service) const;
  void end_starts(const ServiceName& name, const Inputs& inputs, Service& service);
  void publish(Service& service, TableDelta& delta) const;
  void update_users(const ServiceName& name, const std::set<IpAddress>& before, const std::set<IpAddress>& now);
  void release(Service& service, const std::set<BackendPlace>& used);
  void remove(const ServiceName& name, TableDelta& delta);

  Realm realm_;
  std::uint32_t ring_slots_;
  SlowStart::Time slow_start_;
  OwnPlace place_;
  std::map<ServiceName, Service> services_;
  std::map<ServiceId, ServiceName> by_id_;
  std::set<ServiceName> invalid_;
  std::map<ServiceName, SlowStart::Time> rises_;       // of services with backends that start slowly: the next
  std::set<std::pair<IpAddress, ServiceName>> users_;  // by address of a backend
  IdPool<ServiceId> service_ids_{1024};
  IdPool<BackendId> backend_ids_{65536};
};

}  // namespace isthmus
