// What a Compiler works on: its parts, and what it knows between two turns. Owner: the Compiler, whose files alone
// include this. Thread: control.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/compile/claims.h"
#include "control/compile/compiler.h"
#include "control/compile/endpoint_nodes.h"
#include "control/compile/endpoints.h"
#include "control/compile/fleet_builder.h"
#include "control/compile/host_routes.h"
#include "control/compile/peers.h"
#include "control/compile/services.h"

namespace isthmus {

struct Compiler::State {
  State(CompilerOptions o, const Model& m, NextHop n)
      : options(std::move(o)),
        model(m),
        next_hop(std::move(n)),
        fleet_builder(model, options, fleet),
        peers(options.own_node_tunnels),
        nodes(model, fleet, peers),
        endpoints(options.realm, local_identities),
        services(options.realm, options.ring_slots, options.slow_start, options.outliers),
        policy(options.cluster, options.policy) {}

  CompilerOptions options;
  bool reserved_changed = false;  // since the last compile()
  const Model& model;
  const NextHop next_hop;
  Fleet fleet;
  FleetBuilder fleet_builder;
  bool started = false;  // fleet.own is set
  bool listed = false;   // at the last compile(), the hubs had said all that they have
  bool resolve_next_hops = false;
  bool unreachability_reported = false;  // since the last compile()
  std::set<PeerId> unreachable_peers, left_peers;
  std::set<ClusterId> unreachable, ejected;  // as in the tables
  std::set<ClusterId> desired_ejected;       // as last reported
  std::set<ClusterId> draining, desired_draining;
  std::vector<OpeningOutcome> openings;               // heard since the last compile()
  bool openings_lost = false;                         // and some were not
  std::map<ClusterId, SlowStart::Time> out_of_reach;  // when they were last
  std::set<ClusterId> was_unreachable;                // at the last compile()
  PeerRegistry peers;
  EndpointNodes nodes;
  LocalIdentities local_identities;
  EndpointSet endpoints;
  HostRoutes host_routes;
  VipClaims claims;
  ServiceSet services;
  PolicySet policy;
  UnlabelledClusters unlabelled;
  std::vector<ClusterEntry> clusters;
  AliasPrefixes aliases;  // of our own cluster, as in the tables

  void compile(const ModelChanges& changes, CompileResult& result);
  [[nodiscard]] FleetChange update_fleet(const ModelChanges& changes, bool first);
  // The services that depend on what has changed in the fleet itself.
  [[nodiscard]] std::set<ServiceName> services_of(const FleetChange& change, bool first) const;
  void update_nodes(const ModelChanges& changes, const FleetChange& fleet_change, const CompileResult& result);
  void update_endpoints(const ModelChanges& changes, bool first, const FleetChange& fleet_change,
                        std::set<ServiceName>& dirty, CompileResult& result);
  void update_host_routes(const FleetChange& fleet_change, bool first, std::set<ServiceName>& dirty,
                          CompileResult& result);
  void update_reachability(std::set<ServiceName>& dirty);
  void update_clusters(TableDelta& delta);
  // Of these clusters, which are in the tables; nothing else of them has changed.
  void update_prefixes(const std::set<std::string>& names, CompileResult& result);
  // Of clusters whose silence says nothing of their backends: out of reach, or a short time ago.
  [[nodiscard]] std::set<ClusterId> clusters_away(SlowStart::Time now);
  void update_services(const std::set<ServiceName>& dirty, CompileResult& result);
  // May be selected for new flows: it is not down and there is a route to it.
  [[nodiscard]] bool is_usable(PeerId gateway) const;
  [[nodiscard]] bool is_unreachable(const FleetCluster& cluster) const;
  [[nodiscard]] UnlabelledClusters unlabelled_clusters() const;
  [[nodiscard]] std::vector<Problem> problems() const;
  [[nodiscard]] std::optional<Problem> unknown_pods_problem() const;
  [[nodiscard]] EndpointView view_of(const ObjectKey& owner, const EndpointEntry& entry) const;
};

}  // namespace isthmus
