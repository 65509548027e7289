#include "control/compile/peers.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "control/compile/listing.h"

namespace isthmus {
namespace {

// Where the nodes of a cluster expect tunnels of their kind.
L4Port node_port(EncapsulationKind kind) { return encapsulation_info(kind).default_port; }

}  // namespace

void PeerRegistry::set_gateways(const Fleet& fleet) {
  own_ = {{fleet.own.underlay, "this gateway"}};
  for (const IpAddress& address : fleet.own.more) {
    own_.emplace(address, "this gateway");
  }
  gateways_.clear();
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      if (!fleet.own.is_ours(gateway.underlay)) {
        gateways_[gateway.underlay] = {
            name, {cluster.id, gateway.port, true, gateway.name, gateway.encapsulation, fleet.own.encapsulation}};
      }
    }
  }
}

// `node`: null, it is gone.
void PeerRegistry::set_node(const ObjectKey& key, const NodeObject* node, const Fleet& fleet,
                            std::set<IpAddress>& touched) {
  if (const auto at = nodes_.find(key); at != nodes_.end()) {
    for (const IpAddress& address : at->second) {
      const auto nodes = nodes_at_.find(address);
      nodes->second.erase(&at->first);
      if (nodes->second.empty()) {
        nodes_at_.erase(nodes);
      }
      touched.insert(address);
    }
    nodes_.erase(at);
  }
  const FleetCluster* cluster = fleet.find(key.cluster);
  if (node == nullptr || cluster == nullptr || (cluster->local && !own_nodes_) ||
      cluster->encapsulation == EncapsulationKind::kNone) {
    return;
  }
  std::set<IpAddress> addresses;
  for (const IpAddress& address : node->addresses) {
    // The node that we run on: its pods are reached by the kernel's routes.
    const bool ours = cluster->local && fleet.own.is_ours(address);
    if (fleet.own.address(address.family()) != nullptr && !ours) {
      addresses.insert(address);
    }
  }
  if (!addresses.empty()) {
    const auto at = nodes_.emplace(key, std::vector<IpAddress>(addresses.begin(), addresses.end())).first;
    for (const IpAddress& address : addresses) {
      nodes_at_[address].insert(&at->first);
    }
    touched.merge(addresses);
  }
}

std::optional<std::pair<PeerRegistry::Key, PeerRegistry::Desired>> PeerRegistry::desired_at(const IpAddress& address,
                                                                                            const Fleet& fleet) const {
  if (const auto gateway = gateways_.find(address); gateway != gateways_.end()) {
    return std::pair(Key{gateway->second.first, address}, gateway->second.second);
  }
  const auto nodes = nodes_at_.find(address);
  if (own_.count(address) != 0 || nodes == nodes_at_.end()) {
    return std::nullopt;
  }
  // Our own cluster's before others', then who has it, and nobody's before one of a cluster that is linked with ours.
  const auto rank = [&](const ObjectKey* node) {
    const FleetCluster& of = *fleet.find(node->cluster);
    return std::tuple(!of.local, !of.linked, !peers_.contains(Key{node->cluster, address}));
  };
  const ObjectKey& first = **std::min_element(nodes->second.begin(), nodes->second.end(),
                                              [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
  const FleetCluster& cluster = *fleet.find(first.cluster);
  const EncapsulationKind kind = cluster.encapsulation;
  return std::pair(Key{first.cluster, address}, Desired{cluster.id, node_port(kind), false, first.name, kind, kind});
}

bool PeerRegistry::is_contested(const IpAddress& address, const Fleet& fleet) const {
  const auto nodes = nodes_at_.find(address);
  if (nodes == nodes_at_.end()) {
    return false;
  }
  const auto peer = desired_at(address, fleet);
  return std::any_of(nodes->second.begin(), nodes->second.end(),
                     [&](const ObjectKey* node) { return !peer || node->cluster != peer->first.first; });
}

bool PeerRegistry::set_peer(const Key& key, const Desired& peer, const Compiler::NextHop& next_hop, bool resolve,
                            TableDelta& delta) {
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
  if (inserted || resolve || entry.adjacency == kNoAdjacency) {
    entry.adjacency = next_hop(key.second);
  }
  const bool changed = inserted || !(entry == current.entry);
  if (changed) {
    delta.upsert_peers.push_back(entry);
  }
  const bool renamed = current.name != peer.name;
  current = {entry, peer.name};
  return changed || renamed;
}

// The peers at these addresses. Ids are not used again in the delta that removes them.
bool PeerRegistry::reconcile(const std::set<IpAddress>& addresses, const Fleet& fleet,
                             const Compiler::NextHop& next_hop, bool resolve_all, TableDelta& delta) {
  std::map<Key, Desired> target;
  for (const IpAddress& address : addresses) {
    if (auto peer = desired_at(address, fleet)) {
      target.insert(std::move(*peer));
    }
    if (is_contested(address, fleet)) {
      contested_.insert(address);
    } else {
      contested_.erase(address);
    }
  }
  bool changed = false;
  std::vector<PeerId> freed;
  for (const IpAddress& address : addresses) {
    const auto at = at_.find(address);
    if (at == at_.end() || target.count({at->second, address}) != 0) {
      continue;
    }
    const auto peer = peers_.find({at->second, address});
    freed.push_back(peer->second.entry.id);
    by_id_.erase(freed.back());
    peers_.erase(peer);
    at_.erase(at);
    lost_.insert(address);
    changed = true;
  }
  delta.remove_peers.insert(delta.remove_peers.end(), freed.begin(), freed.end());
  for (const auto& [key, peer] : target) {
    changed = set_peer(key, peer, next_hop, resolve_all, delta) || changed;
    at_[key.second] = key.first;
  }
  for (const PeerId id : freed) {
    ids_.release(id);
  }
  return changed;
}

bool PeerRegistry::update(const Model& model, const Fleet& fleet, const Compiler::NextHop& next_hop, bool resolve_all,
                          TableDelta& delta) {
  std::set<IpAddress> addresses;
  for (const auto& [address, cluster] : at_) {
    addresses.insert(addresses.end(), address);
  }
  set_gateways(fleet);
  nodes_.clear();
  nodes_at_.clear();
  contested_.clear();
  model.visit<NodeObject>(ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const auto&) {
    set_node(key, &node, fleet, addresses);
  });
  for (const auto& [address, gateway] : gateways_) {
    addresses.insert(address);
  }
  const bool changed = reconcile(addresses, fleet, next_hop, resolve_all, delta);
  check_routes(fleet);
  find_node_routes(model, fleet);
  return changed;
}

std::vector<IpAddress> PeerRegistry::take_lost() {
  std::erase_if(lost_, [&](const IpAddress& address) { return at_.contains(address); });
  const std::set<IpAddress> lost = std::exchange(lost_, {});
  return {lost.begin(), lost.end()};
}

void PeerRegistry::update_nodes(const std::set<ObjectKey>& nodes, const Model& model, const Fleet& fleet,
                                const Compiler::NextHop& next_hop, TableDelta& delta) {
  std::set<IpAddress> addresses;
  bool local = false;
  for (const ObjectKey& key : nodes) {
    set_node(key, model.find<NodeObject>(key).value, fleet, addresses);
    const FleetCluster* cluster = fleet.find(key.cluster);
    local = local || (cluster != nullptr && cluster->local);
  }
  const bool changed = reconcile(addresses, fleet, next_hop, false, delta);
  if (local || changed) {
    find_node_routes(model, fleet);
  }
}

void PeerRegistry::append_problems(const Model& model, std::vector<Problem>& problems) const {
  list_problems(
      contested_, "underlay addresses of several nodes or gateways", problems,
      [&](const IpAddress& address, auto& list) {
        const auto own = own_.find(address);
        const auto peer = at_.find(address);
        const Nodes& nodes = nodes_at_.at(address);
        const Current* current = peer == at_.end() ? nullptr : &peers_.at({peer->second, address});
        const std::string other = own != own_.end()    ? own->second
                                  : current == nullptr ? std::string()
                                                       : (current->entry.gateway ? "gateway " : "node ") +
                                                             current->name + " of cluster " + peer->second;
        for (const ObjectKey* node : nodes) {
          if (peer == at_.end() || node->cluster != peer->second) {
            const auto object = model.find<NodeObject>(*node);
            list.push_back({"node " + node->name + " of cluster " + node->cluster + " and " + other +
                                " have the same underlay address " + address.to_string() + "; the node is left out",
                            object ? object.provenance.text() : std::string(), "correct the address of one of them"});
          }
        }
      });
  problems.insert(problems.end(), route_problems_.begin(), route_problems_.end());
}

// A node that is a gateway too, ours or another, has its tunnel end in use: its pods are reached by other routes.
void PeerRegistry::find_node_routes(const Model& model, const Fleet& fleet) {
  const std::vector<NodeRoute> before = std::exchange(node_routes_, {});
  const auto own =
      std::find_if(fleet.clusters.begin(), fleet.clusters.end(), [](const auto& c) { return c.second.local; });
  if (!own_nodes_ || own == fleet.clusters.end()) {
    node_routes_changed_ = node_routes_changed_ || !before.empty();
    return;
  }
  const auto add = [&](const ObjectKey& key) {
    const auto node = model.find<NodeObject>(key);
    for (const IpAddress& address : node ? node->addresses : std::vector<IpAddress>{}) {
      const auto peer = peers_.find({key.cluster, address});
      if (peer == peers_.end() || peer->second.entry.gateway || peer->second.entry.adjacency == kNoAdjacency) {
        continue;
      }
      for (const Prefix& prefix : node->pod_prefixes) {
        node_routes_.push_back({to_own(own->second.aliases, prefix), peer->second.entry.id});
      }
      return;
    }
  };
  model.visit_keys(ObjectKind::kNode, add, &own->first);
  std::stable_sort(node_routes_.begin(), node_routes_.end(),
                   [](const NodeRoute& a, const NodeRoute& b) { return a.prefix < b.prefix; });
  const auto same = [](const NodeRoute& a, const NodeRoute& b) { return a.prefix == b.prefix; };
  node_routes_.erase(std::unique(node_routes_.begin(), node_routes_.end(), same), node_routes_.end());
  node_routes_changed_ = node_routes_changed_ || node_routes_ != before;
}

void PeerRegistry::check_routes(const Fleet& fleet) {
  route_problems_.clear();
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      const auto peer = peers_.find({name, gateway.underlay});
      if (peer != peers_.end() && peer->second.entry.adjacency == kNoAdjacency) {
        route_problems_.push_back(
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

PeerId PeerRegistry::node_at(const std::string& cluster, const IpAddress& underlay) const {
  const auto it = peers_.find({cluster, underlay});
  if (it == peers_.end()) {
    return kNoPeer;
  }
  const PeerEntry& entry = it->second.entry;
  const bool usable = !entry.gateway && entry.kind == EncapsulationKind::kGeneve && entry.adjacency != kNoAdjacency;
  return usable ? entry.id : kNoPeer;
}

PeerView PeerRegistry::view_of(const Key& key, const std::set<PeerId>& unreachable) const {
  const auto& [entry, name] = peers_.at(key);
  return {entry.id,       name,       key.first,       entry.cluster, key.second,
          entry.udp_port, entry.kind, entry.from_kind, entry.gateway, unreachable.count(entry.id) != 0,
          entry.adjacency};
}

std::vector<PeerView> PeerRegistry::views(const std::set<PeerId>& unreachable) const {
  std::vector<PeerView> views;
  views.reserve(by_id_.size());
  for (const auto& [id, key] : by_id_) {
    views.push_back(view_of(key, unreachable));
  }
  return views;
}

std::vector<PeerView> PeerRegistry::gateways(const std::set<PeerId>& unreachable) const {
  std::vector<PeerView> views;
  for (const auto& [address, gateway] : gateways_) {
    if (const Key key{gateway.first, address}; peers_.contains(key)) {
      views.push_back(view_of(key, unreachable));
    }
  }
  return views;
}

std::optional<PeerView> PeerRegistry::find(PeerId id, const std::set<PeerId>& unreachable) const {
  const auto at = by_id_.find(id);
  return at == by_id_.end() ? std::nullopt : std::optional(view_of(at->second, unreachable));
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
