#include "control/compile/endpoint_nodes.h"

#include <algorithm>

#include "control/compile/listing.h"
#include "control/compile/locations.h"

namespace isthmus {

std::set<std::string> EndpointNodes::set_clusters(bool direct_return) {
  std::set<std::string> now, changed;
  for (const auto& [name, cluster] : fleet_.clusters) {
    if (cluster.by_nodes(direct_return)) {
      now.insert(name);
    }
  }
  std::set_symmetric_difference(clusters_.begin(), clusters_.end(), now.begin(), now.end(),
                                std::inserter(changed, changed.end()));
  clusters_ = std::move(now);
  return changed;
}

std::string EndpointNodes::said_of(const ObjectKey& owner) const {
  if (const auto address = model_.find<AddressObject>(owner)) {
    return address->node ? address->node->to_string() : std::string();
  }
  const auto endpoint =
      model_.find<CiliumEndpointObject>({ObjectKind::kCiliumEndpoint, owner.cluster, owner.ns, owner.name});
  if (endpoint && endpoint->node) {
    return endpoint->node->to_string();
  }
  const auto pod = model_.find<PodObject>(owner);
  return pod ? pod->node : std::string();
}

void EndpointNodes::set_ends(Places::value_type& place, std::vector<IpAddress> ends) {
  if (ends == place.second.ends) {
    return;
  }
  for (const IpAddress& end : place.second.ends) {
    by_ends_.erase({end, &place});
  }
  for (const IpAddress& end : ends) {
    by_ends_.insert({end, &place});
  }
  place.second.ends = std::move(ends);
}

// A name before an address: there are clusters that name their nodes by addresses.
void EndpointNodes::resolve(Places::value_type& place) {
  const auto& [cluster_name, said] = place.first;
  std::vector<IpAddress> ends;
  if (const auto node = model_.find<NodeObject>({ObjectKind::kNode, cluster_name, {}, said}); node && !said.empty()) {
    ends = node->addresses;
  } else if (const auto address = IpAddress::parse(said)) {
    ends = {*address};
  }
  const FleetCluster* cluster = fleet_.find(cluster_name);
  PeerId peer = kNoPeer;
  for (std::size_t i = 0; i < ends.size() && peer == kNoPeer && cluster != nullptr; ++i) {
    const bool admitted = locate(fleet_, *cluster, true, ends[i]).refused.empty() &&
                          fleet_.admission.refuse_gateway(cluster_name, ends[i]).empty();
    peer = admitted ? peers_.node_at(cluster_name, ends[i]) : kNoPeer;
  }
  place.second.peer = peer;
  set_ends(place, std::move(ends));
  if (peer == kNoPeer) {
    lost_.insert(place.first);
  } else {
    lost_.erase(place.first);
  }
}

PeerId EndpointNodes::place(const ObjectKey& owner, const IpAddress& pod) {
  const auto [at, added] = places_.try_emplace(Key{owner.cluster, said_of(owner)});
  if (added) {
    resolve(*at);
  }
  const auto [known, fresh] = pods_.try_emplace(pod, &*at);
  if (!fresh && known->second != &*at) {
    forget(pod);
    pods_.emplace(pod, &*at);
  }
  at->second.pods.insert(pod);
  return at->second.peer;
}

void EndpointNodes::forget(const IpAddress& pod) {
  const auto known = pods_.find(pod);
  if (known == pods_.end()) {
    return;
  }
  Places::value_type& place = *known->second;
  pods_.erase(known);
  place.second.pods.erase(pod);
  if (place.second.pods.empty()) {
    set_ends(place, {});
    lost_.erase(place.first);
    places_.erase(places_.find(place.first));
  }
}

std::vector<IpAddress> EndpointNodes::update(const FleetChange& fleet, const std::set<ObjectKey>& nodes,
                                             std::span<const IpAddress> peers) {
  if (places_.empty()) {
    return {};
  }
  std::set<Places::value_type*> again;
  const auto add_inside = [&](const Prefix& prefix) {
    for (auto at = by_ends_.lower_bound({prefix.address(), nullptr});
         at != by_ends_.end() && prefix.contains(at->first); ++at) {
      again.insert(at->second);
    }
  };
  if (fleet.rebuilt || fleet.rules) {
    for (Places::value_type& place : places_) {
      again.insert(&place);
    }
  }
  std::for_each(fleet.moved.begin(), fleet.moved.end(), add_inside);
  for (const IpAddress& peer : peers) {
    add_inside(Prefix(peer, 128));
  }
  for (const ObjectKey& node : nodes) {
    if (const auto at = places_.find({node.cluster, node.name}); at != places_.end()) {
      again.insert(&*at);
    }
  }
  std::vector<IpAddress> moved;
  for (Places::value_type* place : again) {
    const PeerId before = place->second.peer;
    resolve(*place);
    if (place->second.peer != before) {
      moved.insert(moved.end(), place->second.pods.begin(), place->second.pods.end());
    }
  }
  return moved;
}

void EndpointNodes::append_problems(std::vector<Problem>& problems) const {
  list_problems(lost_, "nodes that services cannot use", problems, [&](const Key& key, auto& list) {
    const auto& [cluster, said] = key;
    const std::string at = said.empty() ? "at no node that their hub says" : "at node " + said;
    const FleetCluster* its = fleet_.find(cluster);
    list.push_back({std::to_string(places_.at(key).pods.size()) + " pods of cluster " + cluster + " are " + at +
                        ", to which no tunnel leads: services do not use them (services.dsr)",
                    its == nullptr ? "cluster " + cluster : its->where,
                    "publish the cluster's Node objects with the addresses of their tunnels, and with each pod its "
                    "node; or add a Gateway object with spec.cluster " +
                        cluster});
  });
}

}  // namespace isthmus
