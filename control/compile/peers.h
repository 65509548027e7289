// The tunnel peers and their ids: the gateways of all clusters except this one, the nodes of other clusters, which may
// send to us, and where asked for the nodes of our own. One peer per cluster and underlay address; a node that is a
// gateway appears as the gateway only. Thread: control.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/compiler.h"
#include "control/compile/fleet.h"
#include "control/compile/id_pool.h"
#include "control/model/model.h"

namespace isthmus {

class PeerRegistry {
 public:
  explicit PeerRegistry(bool own_nodes) : own_nodes_(own_nodes) {}

  // Reconciles the peers with the fleet and its nodes and appends the changes to `delta`. Next hops are resolved for
  // new peers and those without one; `resolve_all`: for every peer. True when a peer was added, removed or changed.
  bool update(const Model& model, const Fleet& fleet, const Compiler::NextHop& next_hop, bool resolve_all,
              TableDelta& delta);

  [[nodiscard]] PeerId id_of(const std::string& cluster,
                             const IpAddress& underlay) const;                           // kNoPeer when there is none
  [[nodiscard]] std::vector<PeerView> views(const std::set<PeerId>& unreachable) const;  // by id
  [[nodiscard]] bool has_route(PeerId id) const;
  [[nodiscard]] std::string name_of(PeerId id) const;
  [[nodiscard]] const std::vector<Problem>& problems() const { return problems_; }
  // The pods of those own nodes that are peers.
  [[nodiscard]] const std::vector<NodeRoute>& node_routes() const { return node_routes_; }

 private:
  using Key = std::pair<std::string, IpAddress>;  // cluster, underlay
  struct Desired {
    ClusterId cluster;
    L4Port port;
    bool gateway = false;
    std::string name, where;
    EncapsulationKind kind = EncapsulationKind::kVxlan, from_kind = EncapsulationKind::kVxlan;
  };
  struct Current {
    PeerEntry entry;
    std::string name;
  };

  std::map<Key, Desired> desired(const Model& model, const Fleet& fleet);
  void add_nodes(const Model& model, const Fleet& fleet, std::map<Key, Desired>& desired);
  void check_routes(const Fleet& fleet);
  void find_node_routes(const Model& model, const Fleet& fleet);

  bool own_nodes_;
  std::map<Key, Current> peers_;
  std::map<PeerId, Key> by_id_;
  IdPool<PeerId> ids_{1024};
  std::vector<Problem> problems_;
  std::vector<NodeRoute> node_routes_;
};

}  // namespace isthmus
