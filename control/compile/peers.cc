#include "control/compile/peers.h"

#include <algorithm>

namespace isthmus {
namespace {

// Where the nodes of a cluster expect tunnels of their kind.
L4Port node_port(EncapsulationKind kind) { return encapsulation_info(kind).default_port; }

}  // namespace

std::map<PeerRegistry::Key, PeerRegistry::Desired> PeerRegistry::desired(const Model& model, const Fleet& fleet) {
  std::map<Key, Desired> desired;
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      if (!fleet.own.is_ours(gateway.underlay)) {
        desired[{name, gateway.underlay}] = {cluster.id,
                                             gateway.port,
                                             true,
                                             gateway.name,
                                             gateway.where,
                                             gateway.encapsulation,
                                             fleet.own.encapsulation};
      }
    }
  }
  add_nodes(model, fleet, desired);
  return desired;
}

void PeerRegistry::add_nodes(const Model& model, const Fleet& fleet, std::map<Key, Desired>& desired) {
  std::map<IpAddress, std::string> taken{{fleet.own.underlay, "this gateway"}};  // address → its owner
  for (const IpAddress& address : fleet.own.more) {
    taken.emplace(address, "this gateway");
  }
  for (const auto& [key, peer] : desired) {
    taken.emplace(key.second, "gateway " + peer.name + " of cluster " + key.first);
  }
  model.visit<NodeObject>(ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node,
                                                 const Provenance& provenance) {
    const FleetCluster* cluster = fleet.find(key.cluster);
    if (cluster == nullptr || (cluster->local && !own_nodes_) || cluster->encapsulation == EncapsulationKind::kNone) {
      return;
    }
    for (const IpAddress& address : node.addresses) {
      if (fleet.own.address(address.family()) == nullptr || desired.count({key.cluster, address}) != 0) {
        continue;
      }
      if (cluster->local && fleet.own.is_ours(address)) {
        continue;  // the node that we run on: its pods are reached by the kernel's routes
      }
      const std::string self = "node " + key.name + " of cluster " + key.cluster;
      if (const auto [other, free] = taken.emplace(address, self); !free) {
        problems_.push_back({self + " and " + other->second + " have the same underlay address " + address.to_string() +
                                 "; the node is left out",
                             provenance.text(), "correct the address of one of them"});
        continue;
      }
      const EncapsulationKind kind = cluster->encapsulation;
      desired[{key.cluster, address}] = {cluster->id, node_port(kind), false, key.name, provenance.text(), kind, kind};
    }
  });
}

bool PeerRegistry::update(const Model& model, const Fleet& fleet, const Compiler::NextHop& next_hop, bool resolve_all,
                          TableDelta& delta) {
  problems_.clear();
  const std::map<Key, Desired> target = desired(model, fleet);
  bool changed = false;
  std::vector<PeerId> freed;  // not reused in the delta that removes them
  for (auto it = peers_.begin(); it != peers_.end();) {
    if (target.count(it->first) != 0) {
      ++it;
      continue;
    }
    const PeerId id = it->second.entry.id;
    delta.remove_peers.push_back(id);
    by_id_.erase(id);
    freed.push_back(id);
    it = peers_.erase(it);
    changed = true;
  }
  for (const auto& [key, peer] : target) {
    const auto [it, inserted] = peers_.try_emplace(key);
    Current& current = it->second;
    PeerEntry entry = current.entry;
    if (inserted) {
      entry.id = ids_.allocate();
      entry.underlay = key.second;
      by_id_[entry.id] = key;
    }
    entry.cluster = peer.cluster;
    entry.udp_port = peer.port;
    entry.gateway = peer.gateway;
    entry.kind = peer.kind;
    entry.from_kind = peer.from_kind;
    if (inserted || resolve_all || entry.adjacency == kNoAdjacency) {
      entry.adjacency = next_hop(key.second);
    }
    if (inserted || !(entry == current.entry)) {
      delta.upsert_peers.push_back(entry);
      changed = true;
    }
    changed = changed || current.name != peer.name;
    current = {entry, peer.name};
  }
  for (const PeerId id : freed) {
    ids_.release(id);
  }
  check_routes(fleet);
  find_node_routes(model, fleet);
  return changed;
}

// A node that is a gateway too, ours or another, has its tunnel end in use: its pods are reached by other routes.
void PeerRegistry::find_node_routes(const Model& model, const Fleet& fleet) {
  node_routes_.clear();
  model.visit<NodeObject>(ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const auto&) {
    const FleetCluster* cluster = fleet.find(key.cluster);
    if (!own_nodes_ || cluster == nullptr || !cluster->local) {
      return;
    }
    for (const IpAddress& address : node.addresses) {
      const auto peer = peers_.find({key.cluster, address});
      if (peer == peers_.end() || peer->second.entry.gateway || peer->second.entry.adjacency == kNoAdjacency) {
        continue;
      }
      for (const Prefix& prefix : node.pod_prefixes) {
        node_routes_.push_back({prefix, peer->second.entry.id});
      }
      return;
    }
  });
  std::stable_sort(node_routes_.begin(), node_routes_.end(),
                   [](const NodeRoute& a, const NodeRoute& b) { return a.prefix < b.prefix; });
  const auto same = [](const NodeRoute& a, const NodeRoute& b) { return a.prefix == b.prefix; };
  node_routes_.erase(std::unique(node_routes_.begin(), node_routes_.end(), same), node_routes_.end());
}

void PeerRegistry::check_routes(const Fleet& fleet) {
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      const auto peer = peers_.find({name, gateway.underlay});
      if (peer != peers_.end() && peer->second.entry.adjacency == kNoAdjacency) {
        problems_.push_back(
            {"no route to gateway " + gateway.name + " of cluster " + name + " at " + gateway.underlay.to_string(),
             gateway.where, "add a route to it on this node, or correct spec.underlayAddress"});
      }
    }
  }
}

PeerId PeerRegistry::id_of(const std::string& cluster, const IpAddress& underlay) const {
  const auto it = peers_.find({cluster, underlay});
  return it == peers_.end() ? kNoPeer : it->second.entry.id;
}

std::vector<PeerView> PeerRegistry::views(const std::set<PeerId>& unreachable) const {
  std::vector<PeerView> views;
  for (const auto& [id, key] : by_id_) {
    const Current& current = peers_.at(key);
    views.push_back({id, current.name, key.first, current.entry.cluster, key.second, current.entry.udp_port,
                     current.entry.kind, current.entry.from_kind, current.entry.gateway, unreachable.count(id) != 0,
                     current.entry.adjacency});
  }
  return views;
}

bool PeerRegistry::has_route(PeerId id) const {
  const auto it = by_id_.find(id);
  return it != by_id_.end() && peers_.at(it->second).entry.adjacency != kNoAdjacency;
}

std::string PeerRegistry::name_of(PeerId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? "" : peers_.at(it->second).name;
}

}  // namespace isthmus
