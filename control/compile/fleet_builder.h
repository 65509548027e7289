// Keeps the fleet up to date with the model.
//
// A Cluster, Gateway or profile object that changes rebuilds it, with the fleet that was as what stands; a node costs
// what it claims, and what depends on that. Owner: Compiler. Thread: control. Failure: see fleet.h.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/compile/compiler.h"
#include "control/compile/fleet.h"
#include "control/compile/prefix_claims.h"
#include "control/model/model.h"

namespace isthmus {

struct FleetChange {
  bool rebuilt = false;
  // Clusters that appeared, disappeared or have another id. With `links`: which are linked, or what is admitted.
  std::set<std::string> clusters;
  bool links = false;
  bool rules = false;  // admission has other rules
  // Clusters that claim prefixes for pods of a family and did not, or the reverse, or whose pods are admitted one by
  // one and by other rules than before: their endpoints are to be placed again.
  std::set<std::string> unprefixed;
  bool gateways = false;            // some gateways may be others than before
  std::set<std::string> addressed;  // clusters that may have other prefixes
  // Where addresses have changed hands, or may be claimed or not since the last change: prefixes that a cluster has got
  // or lost, addresses of gateways that have come or gone, and of our nodes.
  std::vector<Prefix> moved;
};

class FleetBuilder {
 public:
  // All outlive it. `fleet.own` holds the parameters that the engine was started with. Our own cluster id, identity
  // layout, underlay address and port cannot change while the engine runs: where the hub changes them, or our Cluster
  // or Gateway object disappears, they (and our previous prefixes) stay in use and a problem says so.
  FleetBuilder(const Model& model, const CompilerOptions& options, Fleet& fleet)
      : model_(model), options_(options), fleet_(fleet), prefixes_(model, options) {}

  // Before the first rebuild(): the fleet that stood is that of options.incumbents.
  void seed();
  FleetChange rebuild();
  // Whether more than the prefixes of one of these Cluster objects has changed since the last rebuild().
  [[nodiscard]] bool changes_layout(const std::set<ObjectKey>& clusters) const;
  // The prefixes of these Cluster objects and these Node objects have changed, and nothing else of the fleet since the
  // last call.
  FleetChange update(const std::set<ObjectKey>& clusters, const std::set<ObjectKey>& nodes);

 private:
  struct Candidate;
  // Of a Cluster object, all but its prefixes.
  struct Layout {
    ClusterId id;
    EncapsulationKind encapsulation = EncapsulationKind::kVxlan;
    std::string where;
    friend bool operator==(const Layout&, const Layout&) = default;
  };
  void check_own();
  void add_clusters(const Fleet& previous);
  [[nodiscard]] Problem wrong_id(const Candidate& candidate, ClusterId id,
                                 const std::map<ClusterId, const FleetCluster*>& taken,
                                 const std::vector<Candidate>& candidates) const;
  void drop_what_takes_ours(Fleet& kept) const;
  void add_links();
  void set_admission();
  void check_aliases();
  void index_unprefixed();
  [[nodiscard]] std::vector<IpAddress> update_reserved(const std::set<ObjectKey>& nodes);
  void settle_gateways(const std::map<IpAddress, std::string>& before, FleetChange& change);
  void add_gateways(const std::map<IpAddress, std::string>& before);
  void add_gateway(const std::string& name, const GatewayObject& object, const std::string& where);
  void check_publishers();
  void list_problems();
  [[nodiscard]] static FleetChange difference(const Fleet& before, const Fleet& now);

  const Model& model_;
  const CompilerOptions& options_;
  Fleet& fleet_;
  PrefixClaims prefixes_;
  bool seeded_ = false;                                         // and not rebuilt yet
  std::map<ObjectKey, std::vector<ReservedAddress>> reserved_;  // by node of our own cluster
  std::map<std::string, Layout> built_;                         // by cluster, at the last rebuild()
  std::vector<Problem> layout_problems_, gateway_problems_;
};

}  // namespace isthmus
