// Global services as frontends with their backends and rings, each recompiled by itself.
//
// A service is global when the Service of any linked cluster says so (and its Namespace does not say otherwise). Its
// ports are the union of those Services' ports, the oldest Service first. Backends come from every cluster whose
// Service is global and shared; our own cluster's count for us also when not shared. Affinity is our own Service's.
// ServiceImports give VIPs only. Thread: control.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/compile/backends.h"
#include "control/compile/claims.h"
#include "control/compile/fleet.h"
#include "control/compile/id_pool.h"
#include "control/compile/views.h"
#include "control/model/model.h"
#include "dataplane/api/maglev.h"
#include "dataplane/api/tables.h"

namespace isthmus {

class ServiceSet {
 public:
  ServiceSet(Realm realm, std::uint32_t ring_slots) : realm_(realm), ring_slots_(ring_slots) {}

  struct Inputs {
    const Model& model;
    const Fleet& fleet;
    const VipClaims& claims;
    const std::set<ClusterId>& silent;    // their backends take no new flows
    const std::set<ClusterId>& held_out;  // their backends do not stand
  };
  // Compiles one service anew and writes what changed. True when its name or VIPs came, went or moved.
  bool refresh(const ServiceName& name, const Inputs& inputs, TableDelta& delta);

  [[nodiscard]] std::vector<ServiceView> views() const;
  [[nodiscard]] std::string name_of(ServiceId id) const;
  // Global services that have backends, or could have, in that cluster.
  [[nodiscard]] std::set<ServiceName> members_of(const std::string& cluster) const;
  [[nodiscard]] std::set<ServiceName> names() const;
  void append_problems(std::vector<Problem>& problems) const;

 private:
  struct Definition {
    const FleetCluster* cluster;
    Model::Found<ServiceObject> object;
  };
  using BackendKey = std::tuple<IpAddress, L4Port, IpProtocol>;
  struct PortState {
    ServicePortView view;
    std::vector<MaglevBackend> in_ring;  // what the ring was computed from
    std::shared_ptr<const BackendSet> set;
  };
  using PortKey = std::tuple<L4Port, IpProtocol, Family>;
  struct Service {
    ServiceView view;
    std::map<PortKey, PortState> ports;
    std::map<FrontendKey, FrontendEntry> frontends;  // as published
    std::map<BackendKey, BackendId> backend_ids;
    std::vector<Problem> problems;
  };

  // The Services that make it global, the oldest first; fills in the view's members.
  [[nodiscard]] static std::vector<Definition> definitions(const ServiceName& name, const Inputs& inputs,
                                                           std::vector<ServiceMember>& members);
  [[nodiscard]] static std::vector<ServicePort> merge_ports(const std::vector<Definition>& definitions,
                                                            Service& service);
  void compile_port(Service& service, const ServicePort& port, Family family,
                    const std::vector<Definition>& definitions, const Inputs& inputs, PortState& state,
                    std::set<BackendKey>& used);
  [[nodiscard]] std::vector<Candidate> collect(Service& service, const ServicePort& port, Family family,
                                               const std::vector<Definition>& definitions, const Inputs& inputs) const;
  void publish(Service& service, TableDelta& delta) const;
  void release(Service& service, const std::set<BackendKey>& used);
  void remove(const ServiceName& name, TableDelta& delta);

  Realm realm_;
  std::uint32_t ring_slots_;
  std::map<ServiceName, Service> services_;
  std::map<ServiceId, ServiceName> by_id_;
  std::set<ServiceName> troubled_;
  IdPool<ServiceId> service_ids_{1024};
  IdPool<BackendId> backend_ids_{65536};
};

}  // namespace isthmus
