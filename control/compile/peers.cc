#include "control/compile/peers.h"

namespace isthmus {
namespace {

constexpr L4Port kNodePort{8472};  // of Cilium's VXLAN overlay: nodes without a Gateway object listen there

}  // namespace

std::map<PeerRegistry::Key, PeerRegistry::Desired> PeerRegistry::desired(const Model& model, const Fleet& fleet) {
  std::map<Key, Desired> desired;
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      if (gateway.underlay != fleet.own.underlay) {
        desired[{name, gateway.underlay}] = {cluster.id, gateway.port, true, gateway.name, gateway.where};
      }
    }
  }
  add_nodes(model, fleet, desired);
  return desired;
}

void PeerRegistry::add_nodes(const Model& model, const Fleet& fleet, std::map<Key, Desired>& desired) {
  std::map<IpAddress, std::string> taken{{fleet.own.underlay, "this gateway"}};  // address → its owner
  for (const auto& [key, peer] : desired) {
    taken.emplace(key.second, "gateway " + peer.name + " of cluster " + key.first);
  }
  model.visit<NodeObject>(
      ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const Provenance& provenance) {
        const FleetCluster* cluster = fleet.find(key.cluster);
        if (cluster == nullptr || cluster->local) {
          return;
        }
        for (const IpAddress& address : node.addresses) {
          if (address.family() != fleet.own.underlay.family() || desired.count({key.cluster, address}) != 0) {
            continue;
          }
          const std::string self = "node " + key.name + " of cluster " + key.cluster;
          if (const auto [other, free] = taken.emplace(address, self); !free) {
            problems_.push_back({self + " and " + other->second + " have the same underlay address " +
                                     address.to_string() + "; the node is left out",
                                 provenance.text(), "correct the address of one of them"});
            continue;
          }
          desired[{key.cluster, address}] = {cluster->id, kNodePort, false, key.name, provenance.text()};
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
  return changed;
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
                     current.entry.gateway, unreachable.count(id) != 0, current.entry.adjacency});
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
