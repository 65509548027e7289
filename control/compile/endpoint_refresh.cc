// Which owners of addresses are to be evaluated again after a change elsewhere.
#include <algorithm>

#include "control/compile/endpoints.h"
#include "control/compile/locations.h"

namespace isthmus {

void EndpointSet::visit_owners(const Model& model, const std::string* cluster,
                               const std::function<void(const ObjectKey&)>& visit) {
  for (const ObjectKind kind : {ObjectKind::kPod, ObjectKind::kAddress, ObjectKind::kNode}) {
    model.visit_keys(kind, visit, cluster);
  }
  model.visit_keys(
      ObjectKind::kCiliumEndpoint,
      [&](const ObjectKey& key) {
        const ObjectKey pod{ObjectKind::kPod, key.cluster, key.ns, key.name};
        if (!model.find<PodObject>(pod)) {
          visit(pod);
        }
      },
      cluster);
}

std::vector<ObjectKey> EndpointSet::current_owners(const std::set<std::string>* clusters) const {
  std::vector<ObjectKey> owners;
  for (const auto& [key, owner] : owners_) {
    if (clusters == nullptr || clusters->count(key.cluster) != 0) {
      owners.push_back(key);
    }
  }
  for (const auto& [address, state] : addresses_) {
    if (state.newest.owner == nullptr) {
      continue;
    }
    const auto add = [&, &address = address](const Claim& c) {
      if (c.owner->kind == ObjectKind::kAddress && (clusters == nullptr || clusters->count(c.owner->cluster) != 0)) {
        owners.push_back(owner_of(address, c));
      }
    };
    add(state.newest);
    for (std::size_t i = 0; state.older != nullptr && i < state.older->size(); ++i) {
      add((*state.older)[i]);
    }
  }
  return owners;
}

void EndpointSet::touch_clusters(const std::set<std::string>& clusters) {
  if (clusters.empty()) {
    return;
  }
  for (const auto& [address, state] : addresses_) {
    if (state.newest.owner != nullptr && clusters.contains(state.newest.owner->cluster)) {
      touched_.push_back(address);
    }
  }
}

// What a node says of itself is no pod's.
PeerId EndpointSet::node_of(const IpAddress& address, const Claim& claim, EndpointNodes& nodes) {
  const bool of_nodes = claim.owner != nullptr && nodes.has(claim.owner->cluster);
  if (!of_nodes || claim.owner->kind == ObjectKind::kNode || is_node_identity(claim.identity)) {
    nodes.forget(address);
    return kNoPeer;
  }
  return nodes.place(owner_of(address, claim), address);
}

void EndpointSet::refresh_all(const Model& model, const Fleet& fleet) {
  denied_.clear();
  model.visit<IdentityObject>(ObjectKind::kIdentity, [&](const ObjectKey&, const IdentityObject& object, const auto&) {
    if (denied(model, object.id)) {
      denied_.insert(object.id);
    }
  });
  const auto refresh_owner = [&](const ObjectKey& owner) { refresh(owner, model, fleet); };
  const std::vector<ObjectKey> owners = current_owners(nullptr);
  std::for_each(owners.begin(), owners.end(), refresh_owner);
  visit_owners(model, nullptr, refresh_owner);
}

void EndpointSet::refresh_clusters(const std::set<std::string>& clusters, const Model& model, const Fleet& fleet) {
  const auto refresh_owner = [&](const ObjectKey& owner) { refresh(owner, model, fleet); };
  const std::vector<ObjectKey> owners = current_owners(&clusters);
  std::for_each(owners.begin(), owners.end(), refresh_owner);
  for (const std::string& cluster : clusters) {
    visit_owners(model, &cluster, refresh_owner);
  }
  const std::set<ObjectKey> invalid = invalid_;
  std::for_each(invalid.begin(), invalid.end(), refresh_owner);
  // A node's address may lie in the prefix of any cluster.
  model.visit_keys(ObjectKind::kNode, refresh_owner);
}

void EndpointSet::refresh_ruled(const Model& model, const Fleet& fleet) {
  std::set<ObjectKey> owners = invalid_;
  model.visit_keys(ObjectKind::kNode, [&](const ObjectKey& key) { owners.insert(key); });
  for (const auto& [address, state] : addresses_) {
    if (state.newest.owner != nullptr && is_node_identity(state.newest.identity)) {
      owners.insert(owner_of(address, state.newest));
    }
  }
  for (const ObjectKey& owner : owners) {
    refresh(owner, model, fleet);
  }
}

void EndpointSet::refresh_addresses(const std::vector<Prefix>& prefixes, const Model& model, const Fleet& fleet) {
  std::set<ObjectKey> owners;
  for (const Prefix& prefix : prefixes) {
    for (auto at = addresses_.lower_bound(prefix.address()); at != addresses_.end() && prefix.contains(at->first);
         ++at) {
      const Address& state = at->second;
      if (state.newest.owner != nullptr) {
        owners.insert(owner_of(at->first, state.newest));
      }
      for (std::size_t i = 0; state.older != nullptr && i < state.older->size(); ++i) {
        owners.insert(owner_of(at->first, (*state.older)[i]));
      }
    }
    for (auto at = misplaced_.lower_bound({prefix.address(), {}}); at != misplaced_.end() && prefix.contains(at->first);
         ++at) {
      owners.insert(at->second);
    }
  }
  for (const ObjectKey& owner : owners) {
    refresh(owner, model, fleet);
  }
}

void EndpointSet::refresh_identity(Identity number, const Model& model, const Fleet& fleet) {
  const bool now = denied(model, number);
  if (now == (denied_.count(number) != 0)) {
    return;
  }
  if (now) {
    denied_.insert(number);
  } else {
    denied_.erase(number);
  }
  std::vector<ObjectKey> owners;
  model.visit<CiliumEndpointObject>(ObjectKind::kCiliumEndpoint,
                                    [&](const ObjectKey& key, const CiliumEndpointObject& endpoint, const auto&) {
                                      if (endpoint.identity == number) {
                                        owners.push_back({ObjectKind::kPod, key.cluster, key.ns, key.name});
                                      }
                                    });
  model.visit<AddressObject>(ObjectKind::kAddress,
                             [&](const ObjectKey& key, const AddressObject& address, const auto&) {
                               if (address.identity == number) {
                                 owners.push_back(key);
                               }
                             });
  for (const ObjectKey& owner : owners) {
    refresh(owner, model, fleet);
  }
}

}  // namespace isthmus
