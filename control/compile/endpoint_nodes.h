// At which node each pod is of the clusters whose pods are reached in the tunnels of their own nodes
// (FleetCluster::by_nodes): what EndpointEntry::node gets.
//
// Hubs say it: HostIP of an ipcache entry, the node of a CiliumEndpoint (both an underlay address), or else the name of
// a Pod's node. It counts where a Node object of that cluster makes that address a tunnel peer, by Geneve and no
// gateway, with a route to it, and admission lets the cluster have the address. All pods that are said to be at one
// node share a place, which is resolved once: a pod costs a look-up, a node its pods where its peer changes.
// Owner: Compiler. Thread: control. Failure: a pod at no such node has kNoPeer; a problem counts them.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/fleet.h"
#include "control/compile/fleet_builder.h"
#include "control/compile/peers.h"
#include "control/model/model.h"

namespace isthmus {

class EndpointNodes {
 public:
  // All outlive it.
  EndpointNodes(const Model& model, const Fleet& fleet, const PeerRegistry& peers)
      : model_(model), fleet_(fleet), peers_(peers) {}
  EndpointNodes(const EndpointNodes&) = delete;
  EndpointNodes& operator=(const EndpointNodes&) = delete;

  // The clusters that are such now. Returns those that were not, or are not any more: all their pods are to be placed
  // again.
  [[nodiscard]] std::set<std::string> set_clusters(bool direct_return);
  [[nodiscard]] bool has(const std::string& cluster) const { return clusters_.contains(cluster); }

  // What has changed of the fleet, of Node objects, and of peers, by their underlay addresses. Returns the pods whose
  // peer is another now.
  [[nodiscard]] std::vector<IpAddress> update(const FleetChange& fleet, const std::set<ObjectKey>& nodes,
                                              std::span<const IpAddress> peers);
  // The peer of the node at which the pod's owner says it is; remembers the pod there.
  [[nodiscard]] PeerId place(const ObjectKey& owner, const IpAddress& pod);
  // The pod is gone, or has no node.
  void forget(const IpAddress& pod);

  void append_problems(std::vector<Problem>& problems) const;

 private:
  using Key = std::pair<std::string, std::string>;  // cluster; name or underlay address of the node, as hubs say it
  struct Place {
    std::vector<IpAddress> ends;  // where its tunnels may end
    PeerId peer = kNoPeer;
    absl::btree_set<IpAddress> pods;
  };
  using Places = std::map<Key, Place>;

  [[nodiscard]] std::string said_of(const ObjectKey& owner) const;
  void resolve(Places::value_type& place);
  void set_ends(Places::value_type& place, std::vector<IpAddress> ends);

  const Model& model_;
  const Fleet& fleet_;
  const PeerRegistry& peers_;
  std::set<std::string> clusters_;
  Places places_;
  absl::btree_map<IpAddress, Places::value_type*> pods_;         // where each is
  std::set<std::pair<IpAddress, Places::value_type*>> by_ends_;  // the places by their tunnel ends
  std::set<Key> lost_;                                           // without a peer
};

}  // namespace isthmus
