#include "control/compile/peers.h"

namespace isthmus {
namespace {

constexpr L4Port kNodePort{8472};  // of Cilium's overlay, where nodes without a Gateway object send from and listen

}  // namespace

std::map<PeerTable::Key, PeerTable::Wanted> PeerTable::wanted(const Model& model, const Fleet& fleet) {
  std::map<Key, Wanted> wanted;
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      if (gateway.underlay != fleet.own.underlay) {
        wanted[{name, gateway.underlay}] = {cluster.id, gateway.port, true, gateway.name, gateway.place};
      }
    }
  }
  add_nodes(model, fleet, wanted);
  return wanted;
}

void PeerTable::add_nodes(const Model& model, const Fleet& fleet, std::map<Key, Wanted>& wanted) {
  std::map<IpAddress, std::string> taken{{fleet.own.underlay, "this gateway"}};  // address → by whom
  for (const auto& [key, peer] : wanted) {
    taken.emplace(key.second, "gateway " + peer.name + " of cluster " + key.first);
  }
  model.visit<NodeObject>(
      ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const Provenance& place) {
        const FleetCluster* cluster = fleet.find(key.cluster);
        if (cluster == nullptr || cluster->local) {
          return;
        }
        for (const IpAddress& address : node.addresses) {
          if (address.family() != fleet.own.underlay.family() || wanted.count({key.cluster, address}) != 0) {
            continue;
          }
          const std::string self = "node " + key.name + " of cluster " + key.cluster;
          if (const auto [other, free] = taken.emplace(address, self); !free) {
            problems_.push_back({self + " and " + other->second + " have the same underlay address " +
                                     address.to_string() + "; the node is left out",
                                 place.text(), "correct the address of one of them"});
            continue;
          }
          wanted[{key.cluster, address}] = {cluster->id, kNodePort, false, key.name, place.text()};
        }
      });
}

bool PeerTable::update(const Model& model, const Fleet& fleet, const Compiler::NextHop& next_hop, bool ask_again,
                       TableDelta& delta) {
  problems_.clear();
  const std::map<Key, Wanted> now = wanted(model, fleet);
  bool changed = false;
  std::vector<PeerId> freed;  // not handed out again in the delta that removes them
  for (auto it = peers_.begin(); it != peers_.end();) {
    if (now.count(it->first) != 0) {
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
  for (const auto& [key, peer] : now) {
    const auto [it, fresh] = peers_.try_emplace(key);
    Known& known = it->second;
    PeerEntry entry = known.entry;
    if (fresh) {
      entry.id = ids_.take();
      entry.underlay = key.second;
      by_id_[entry.id] = key;
    }
    entry.cluster = peer.cluster;
    entry.udp_port = peer.port;
    entry.gateway = peer.gateway;
    if (fresh || ask_again || entry.adjacency == kNoAdjacency) {
      entry.adjacency = next_hop(key.second);
    }
    if (fresh || !(entry == known.entry)) {
      delta.upsert_peers.push_back(entry);
      changed = true;
    }
    changed = changed || known.name != peer.name;
    known = {entry, peer.name};
  }
  for (const PeerId id : freed) {
    ids_.give_back(id);
  }
  check_routes(fleet);
  return changed;
}

void PeerTable::check_routes(const Fleet& fleet) {
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      const auto peer = peers_.find({name, gateway.underlay});
      if (peer != peers_.end() && peer->second.entry.adjacency == kNoAdjacency) {
        problems_.push_back(
            {"no route to gateway " + gateway.name + " of cluster " + name + " at " + gateway.underlay.to_string(),
             gateway.place, "add a route to it on this node, or correct spec.underlayAddress"});
      }
    }
  }
}

PeerId PeerTable::id_of(const std::string& cluster, const IpAddress& underlay) const {
  const auto it = peers_.find({cluster, underlay});
  return it == peers_.end() ? kNoPeer : it->second.entry.id;
}

std::vector<PeerView> PeerTable::views(const std::set<PeerId>& silent) const {
  std::vector<PeerView> views;
  for (const auto& [id, key] : by_id_) {
    const Known& known = peers_.at(key);
    views.push_back({id, known.name, key.first, known.entry.cluster, key.second, known.entry.udp_port,
                     known.entry.gateway, silent.count(id) != 0, known.entry.adjacency});
  }
  return views;
}

bool PeerTable::has_route(PeerId id) const {
  const auto it = by_id_.find(id);
  return it != by_id_.end() && peers_.at(it->second).entry.adjacency != kNoAdjacency;
}

std::string PeerTable::name_of(PeerId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? "" : peers_.at(it->second).name;
}

}  // namespace isthmus
