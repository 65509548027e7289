// The tunnel peers and their ids: the gateways of all clusters except this one, the nodes of other clusters, which may
// send to us, and where asked for the nodes of our own. One peer per cluster and underlay address; a node that is a
// gateway appears as the gateway only. Thread: control.
#pragma once

#include <map>
#include <optional>
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
  // The same, where nothing but these Node objects has changed since the last call: costs their share.
  void update_nodes(const std::set<ObjectKey>& nodes, const Model& model, const Fleet& fleet,
                    const Compiler::NextHop& next_hop, TableDelta& delta);
  // Since the last call: the underlay addresses that have lost their peer, and whether node_routes() are others.
  [[nodiscard]] std::vector<IpAddress> take_lost();
  [[nodiscard]] bool take_node_routes_changed() { return std::exchange(node_routes_changed_, false); }

  [[nodiscard]] PeerId id_of(const std::string& cluster,
                             const IpAddress& underlay) const;  // kNoPeer when there is none
  // The node of that cluster whose tunnel, by Geneve, ends there, and to which a route leads; kNoPeer: there is none.
  [[nodiscard]] PeerId node_at(const std::string& cluster, const IpAddress& underlay) const;
  [[nodiscard]] std::vector<PeerView> views(const std::set<PeerId>& unreachable) const;  // by id
  // Those that are gateways, by underlay address.
  [[nodiscard]] std::vector<PeerView> gateways(const std::set<PeerId>& unreachable) const;
  [[nodiscard]] std::optional<PeerView> find(PeerId id, const std::set<PeerId>& unreachable) const;
  [[nodiscard]] std::size_t size() const { return peers_.size(); }
  [[nodiscard]] bool has_route(PeerId id) const;
  [[nodiscard]] std::string name_of(PeerId id) const;
  void append_problems(const Model& model, std::vector<Problem>& problems) const;
  // The pods of those own nodes that are peers.
  [[nodiscard]] const std::vector<NodeRoute>& node_routes() const { return node_routes_; }

 private:
  using Key = std::pair<std::string, IpAddress>;  // cluster, underlay
  struct Desired {
    ClusterId cluster;
    L4Port port;
    bool gateway = false;
    std::string name;
    EncapsulationKind kind = EncapsulationKind::kVxlan, from_kind = EncapsulationKind::kVxlan;
  };
  struct Current {
    PeerEntry entry;
    std::string name;
  };

  struct ByKey {
    bool operator()(const ObjectKey* a, const ObjectKey* b) const { return *a < *b; }
  };
  using Nodes = std::set<const ObjectKey*, ByKey>;

  void set_gateways(const Fleet& fleet);
  void set_node(const ObjectKey& key, const NodeObject* node, const Fleet& fleet, std::set<IpAddress>& touched);
  // The peer at an address, if there should be one: a gateway, else the first node by key.
  [[nodiscard]] std::optional<std::pair<Key, Desired>> desired_at(const IpAddress& address, const Fleet& fleet) const;
  // Who of the nodes at an address is left out: all of other clusters than the one that has it.
  [[nodiscard]] bool is_contested(const IpAddress& address, const Fleet& fleet) const;
  bool reconcile(const std::set<IpAddress>& addresses, const Fleet& fleet, const Compiler::NextHop& next_hop,
                 bool resolve_all, TableDelta& delta);
  bool set_peer(const Key& key, const Desired& peer, const Compiler::NextHop& next_hop, bool resolve,
                TableDelta& delta);
  [[nodiscard]] PeerView view_of(const Key& key, const std::set<PeerId>& unreachable) const;
  void check_routes(const Fleet& fleet);
  void find_node_routes(const Model& model, const Fleet& fleet);

  bool own_nodes_;
  std::map<Key, Current> peers_;
  std::map<PeerId, Key> by_id_;
  IdPool<PeerId> ids_{1024};
  std::map<IpAddress, std::string> at_;                            // the cluster of the peer at an address
  std::map<IpAddress, std::pair<std::string, Desired>> gateways_;  // with their clusters
  std::map<IpAddress, std::string> own_;                           // our addresses, with what they are
  std::map<ObjectKey, std::vector<IpAddress>> nodes_;              // that may be peers, with their addresses
  std::map<IpAddress, Nodes> nodes_at_;
  std::set<IpAddress> contested_;
  std::vector<Problem> route_problems_;
  std::vector<NodeRoute> node_routes_;
  bool node_routes_changed_ = false;
  std::set<IpAddress> lost_;
};

}  // namespace isthmus
