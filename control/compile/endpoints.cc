#include "control/compile/endpoints.h"

#include <algorithm>
#include <utility>

#include "control/compile/listing.h"
#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

std::string owner_text(const ObjectKey& key) {
  if (key.kind == ObjectKind::kNode) {
    return "node " + key.name + " of cluster " + key.cluster;
  }
  if (key.kind == ObjectKind::kAddress) {
    return "address " + key.name + " of cluster " + key.cluster;
  }
  return "pod " + key.name_space + "/" + key.name + " of cluster " + key.cluster;
}

ObjectKey cilium_endpoint_of(const ObjectKey& pod) {
  return {ObjectKind::kCiliumEndpoint, pod.cluster, pod.name_space, pod.name};
}

std::string place_of(const Model& model, const ObjectKey& owner) {
  if (const auto node = model.find<NodeObject>(owner)) {
    return node.provenance->text();
  }
  if (const auto address = model.find<AddressObject>(owner)) {
    return address.provenance->text();
  }
  if (const auto pod = model.find<PodObject>(owner)) {
    return pod.provenance->text();
  }
  const auto endpoint = model.find<CiliumEndpointObject>(cilium_endpoint_of(owner));
  return endpoint ? endpoint.provenance->text() : "";
}

}  // namespace

bool EndpointSet::denied(const Model& model, Identity number) const {
  const auto claims = model.identities(number);
  return std::any_of(claims.begin(), claims.end(),
                     [&](const auto& claim) { return claim->labels != claims.front()->labels; });
}

Identity EndpointSet::checked_identity(const ObjectKey& owner, Identity id, const Provenance& provenance,
                                       const FleetCluster& cluster, Owner& state) {
  if (id == identity::kUnknown) {
    return identity::unlabelled(cluster.id);
  }
  if (id.value() < identity::kFirstAllocated) {
    return id == identity::kHost && !cluster.local ? identity::kRemoteNode : id;
  }
  const unsigned shift = bits_.shift;
  if (id.value() >> shift != cluster.id.value()) {
    const std::uint32_t first = std::uint32_t{cluster.id.value()} << shift;
    state.problems.push_back(
        {owner_text(owner) + " has identity " + std::to_string(id.value()) + ", which is not of its cluster (" +
             std::to_string(first) + ".." + std::to_string(first + (1U << shift) - 1) + "); it counts as world",
         provenance.text(), "check cluster ids and maxConnectedClusters against that cluster's Cilium"});
    return identity::kWorld;
  }
  return id;
}

EndpointSet::Wanted EndpointSet::wanted(const ObjectKey& owner, const Model& model, const FleetCluster& cluster,
                                        Owner& state) {
  Wanted wanted;
  if (const auto node = model.find<NodeObject>(owner)) {
    const auto add = [&](const std::vector<IpAddress>& addresses, Identity identity) {
      for (const IpAddress& address : addresses) {
        wanted[address] = identity;
      }
    };
    add(node->addresses, cluster.local ? identity::kHost : identity::kRemoteNode);
    add(node->inner, cluster.local ? identity::kHost : identity::kRemoteNode);
    add(node->health, identity::kHealth);
    add(node->ingress, identity::kIngress);
    return wanted;
  }
  if (const auto object = model.find<AddressObject>(owner)) {
    if (object->prefix.length128() == 128) {
      const Identity identity = checked_identity(owner, object->identity, *object.provenance, cluster, state);
      if (denied_.count(identity) == 0) {
        wanted[object->prefix.address()] = identity;
      }
    }
    return wanted;
  }
  const auto pod = model.find<PodObject>(owner);
  const auto endpoint = model.find<CiliumEndpointObject>(cilium_endpoint_of(owner));
  if (pod && pod->host_network) {
    return wanted;
  }
  const Identity identity = endpoint ? checked_identity(owner, endpoint->identity, *endpoint.provenance, cluster, state)
                                     : identity::unlabelled(cluster.id);
  if (denied_.count(identity) != 0) {
    return wanted;
  }
  for (const IpAddress& address : pod ? pod->addresses : std::vector<IpAddress>{}) {
    wanted[address] = identity;
  }
  for (const IpAddress& address : endpoint ? endpoint->addresses : std::vector<IpAddress>{}) {
    wanted[address] = identity;
  }
  return wanted;
}

void EndpointSet::judge_places(const ObjectKey& owner, const Model& model, const Fleet& fleet, Owner& state,
                               Wanted& now) {
  const FleetCluster* cluster = fleet.find(owner.cluster);
  for (auto w = now.begin(); w != now.end();) {
    const FleetCluster* at = fleet.owner(w->first);
    if (at == cluster || (at == nullptr && owner.kind == ObjectKind::kNode)) {
      ++w;
      continue;
    }
    state.problems.push_back({owner_text(owner) + " has address " + w->first.to_string() + ", which lies " +
                                  (at == nullptr ? "outside its cluster's prefixes" : "in cluster " + at->name) +
                                  "; it is left out",
                              place_of(model, owner), "correct the address, or add its prefix to the Cluster object"});
    w = now.erase(w);
  }
}

void EndpointSet::refresh(const ObjectKey& owner, const Model& model, const Fleet& fleet) {
  bits_ = fleet.own.cluster_bits;
  if (owner.kind == ObjectKind::kAddress) {
    return refresh_address(owner, model, fleet);
  }
  const auto it = owners_.try_emplace(owner).first;
  Owner& state = it->second;
  state.problems.clear();
  Wanted now;
  const FleetCluster* cluster = fleet.find(owner.cluster);
  if (cluster != nullptr) {
    now = wanted(owner, model, *cluster, state);
    judge_places(owner, model, fleet, state, now);
  }
  for (auto a = state.addresses.begin(); a != state.addresses.end();) {
    if (now.count(*a) == 0) {
      withdraw(it->first, *a);
      a = state.addresses.erase(a);
    } else {
      ++a;
    }
  }
  for (const auto& [address, identity] : now) {
    claim(it->first, address, cluster->id, identity);
    state.addresses.insert(address);
  }
  keep_owner(owner, state);
}

void EndpointSet::refresh_address(const ObjectKey& key, const Model& model, const Fleet& fleet) {
  const auto address = IpAddress::parse(key.name);
  if (!address) {
    return;  // a prefix: its identity is a CIDR's, which policies name by address
  }
  const ObjectKey& owner = *address_owners_.insert({key.kind, key.cluster, {}, {}}).first;
  Owner state;
  Wanted now;
  const FleetCluster* cluster = fleet.find(key.cluster);
  if (cluster != nullptr) {
    now = wanted(key, model, *cluster, state);
    judge_places(key, model, fleet, state, now);
  }
  if (const auto found = now.find(*address); found != now.end()) {
    claim(owner, *address, cluster->id, found->second);
  } else {
    withdraw(owner, *address);
  }
  const bool troubled = !state.problems.empty();
  if (troubled || owners_.count(key) != 0) {
    owners_[key] = std::move(state);
    keep_owner(key, owners_[key]);
  }
}

void EndpointSet::keep_owner(const ObjectKey& owner, const Owner& state) {
  if (state.problems.empty()) {
    troubled_.erase(owner);
  } else {
    troubled_.insert(owner);
  }
  if (state.addresses.empty() && state.problems.empty()) {
    owners_.erase(owner);
  }
}

EndpointEntry EndpointSet::entry_of(const IpAddress& address, const Claim& claim) const {
  return {realm_, address, claim.cluster, claim.identity, kNoPeer};
}

ObjectKey EndpointSet::owner_of(const IpAddress& address, const Claim& claim) {
  ObjectKey key = *claim.owner;
  if (key.kind == ObjectKind::kAddress) {
    key.name = address.to_string();
  }
  return key;
}

void EndpointSet::claim(const ObjectKey& owner, const IpAddress& address, ClusterId cluster, Identity identity) {
  Address& state = addresses_[address];
  const Claim now{&owner, cluster, identity};
  touched_.push_back(address);
  if (state.newest.owner == nullptr || state.newest.owner == &owner) {
    state.newest = now;
    if (state.older != nullptr) {
      settle(address, state);
    }
    return;
  }
  if (state.older == nullptr) {
    state.older = std::make_unique<std::vector<Claim>>();
  }
  const auto own =
      std::find_if(state.older->begin(), state.older->end(), [&](const Claim& c) { return c.owner == &owner; });
  if (own != state.older->end()) {
    *own = now;
  } else {
    state.older->push_back(std::exchange(state.newest, now));
  }
  settle(address, state);
}

void EndpointSet::settle(const IpAddress& address, Address& state) {
  if (state.older == nullptr) {
    contested_.erase(address);
    return;
  }
  // An address object without an identity says no more than that the address is an endpoint.
  const auto bare = [](const Claim& c) {
    return c.owner->kind == ObjectKind::kAddress && identity::is_unlabelled(c.identity);
  };
  auto& older = *state.older;
  if (bare(state.newest)) {
    const auto better = std::find_if_not(older.rbegin(), older.rend(), bare);
    if (better != older.rend()) {
      std::swap(state.newest, *better);
    }
  }
  // What a node says of an address, an ipcache says too.
  const auto agrees = [&](const Claim& c) {
    const bool of_node = c.owner->kind == ObjectKind::kNode || state.newest.owner->kind == ObjectKind::kNode;
    return bare(c) || (of_node && c.identity == state.newest.identity && c.owner->kind != state.newest.owner->kind);
  };
  // These first, so that the last is who contests the newest.
  std::stable_partition(older.begin(), older.end(), agrees);
  if (agrees(older.back())) {
    contested_.erase(address);
  } else {
    contested_.insert(address);
  }
}

void EndpointSet::withdraw(const ObjectKey& owner, const IpAddress& address) {
  const auto found = addresses_.find(address);
  if (found == addresses_.end()) {
    return;
  }
  Address& state = found->second;
  touched_.push_back(address);
  if (state.older != nullptr) {
    auto& older = *state.older;
    if (state.newest.owner == &owner) {
      state.newest = older.back();
      older.pop_back();
    } else {
      older.erase(std::remove_if(older.begin(), older.end(), [&](const Claim& c) { return c.owner == &owner; }),
                  older.end());
    }
    if (older.empty()) {
      state.older.reset();
    }
    settle(address, state);
  } else if (state.newest.owner == &owner) {
    state.newest = {};
  }
}

void EndpointSet::visit_owners(const Model& model, const std::string* cluster,
                               const std::function<void(const ObjectKey&)>& visit) {
  for (const ObjectKind kind : {ObjectKind::kPod, ObjectKind::kAddress, ObjectKind::kNode}) {
    model.visit_keys(kind, visit, cluster);
  }
  model.visit_keys(
      ObjectKind::kCiliumEndpoint,
      [&](const ObjectKey& key) {
        const ObjectKey pod{ObjectKind::kPod, key.cluster, key.name_space, key.name};
        if (!model.find<PodObject>(pod)) {
          visit(pod);
        }
      },
      cluster);
}

std::vector<ObjectKey> EndpointSet::known_owners(const std::set<std::string>* clusters) const {
  std::vector<ObjectKey> known;
  for (const auto& [key, owner] : owners_) {
    if (clusters == nullptr || clusters->count(key.cluster) != 0) {
      known.push_back(key);
    }
  }
  for (const auto& [address, state] : addresses_) {
    if (state.newest.owner == nullptr) {
      continue;
    }
    const auto add = [&, &address = address](const Claim& c) {
      if (c.owner->kind == ObjectKind::kAddress && (clusters == nullptr || clusters->count(c.owner->cluster) != 0)) {
        known.push_back(owner_of(address, c));
      }
    };
    add(state.newest);
    for (std::size_t i = 0; state.older != nullptr && i < state.older->size(); ++i) {
      add((*state.older)[i]);
    }
  }
  return known;
}

void EndpointSet::refresh_all(const Model& model, const Fleet& fleet) {
  denied_.clear();
  model.visit<IdentityObject>(ObjectKind::kIdentity, [&](const ObjectKey&, const IdentityObject& object, const auto&) {
    if (denied(model, object.id)) {
      denied_.insert(object.id);
    }
  });
  const auto judge = [&](const ObjectKey& owner) { refresh(owner, model, fleet); };
  const std::vector<ObjectKey> known = known_owners(nullptr);
  std::for_each(known.begin(), known.end(), judge);
  visit_owners(model, nullptr, judge);
}

void EndpointSet::refresh_clusters(const std::set<std::string>& clusters, const Model& model, const Fleet& fleet) {
  const auto judge = [&](const ObjectKey& owner) { refresh(owner, model, fleet); };
  const std::vector<ObjectKey> known = known_owners(&clusters);
  std::for_each(known.begin(), known.end(), judge);
  for (const std::string& cluster : clusters) {
    visit_owners(model, &cluster, judge);
  }
  const std::set<ObjectKey> troubled = troubled_;
  std::for_each(troubled.begin(), troubled.end(), judge);
  // An address of a node may lie in anybody's prefix.
  model.visit_keys(ObjectKind::kNode, judge);
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
                                        owners.push_back({ObjectKind::kPod, key.cluster, key.name_space, key.name});
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

void EndpointSet::take(std::vector<EndpointEntry>& upsert, std::vector<IpAddress>& remove) {
  for (const IpAddress& address : std::exchange(touched_, {})) {
    const auto it = addresses_.find(address);
    if (it == addresses_.end()) {
      continue;
    }
    Address& state = it->second;
    if (state.newest.owner == nullptr) {
      if (state.published) {
        remove.push_back(address);
        --published_;
        count(state, -1);
      }
      addresses_.erase(it);
      continue;
    }
    const Claim& now = state.newest;
    if (!state.published || state.published_cluster != now.cluster || state.published_identity != now.identity) {
      upsert.push_back(entry_of(address, now));
      published_ += state.published ? 0 : 1;
      count(state, -1);
      state.published = true;
      state.published_cluster = now.cluster;
      state.published_identity = now.identity;
      count(state, 1);
    }
  }
}

// What is published at the address comes to those that are known of its cluster, or leaves them.
void EndpointSet::count(const Address& state, int change) {
  const std::uint32_t number = state.published_identity.value();
  const bool labelled = number >= identity::kFirstAllocated && number >> identity::kScopeShift == 0;
  if (state.published && (labelled || identity::is_unlabelled(state.published_identity))) {
    Known& known = known_[state.published_cluster];
    std::size_t& number_of = labelled ? known.labelled : known.unlabelled;
    const bool none_before = number_of == 0;
    number_of += static_cast<std::size_t>(change);
    known_moved_ = known_moved_ || none_before != (number_of == 0);
  }
}

void EndpointSet::append_problems(const Model& model, std::vector<Problem>& problems) const {
  list_problems(troubled_, "pods or nodes with problems", problems, [&](const ObjectKey& key, auto& list) {
    const Owner& owner = owners_.at(key);
    list.insert(list.end(), owner.problems.begin(), owner.problems.end());
  });
  list_problems(contested_, "addresses that several pods have", problems, [&](const IpAddress& address, auto& list) {
    const Address& state = addresses_.at(address);
    const ObjectKey newest = owner_of(address, state.newest), other = owner_of(address, state.older->back());
    list.push_back({owner_text(newest) + " and " + owner_text(other) + " (" + place_of(model, other) +
                        ") have the same address " + address.to_string() + "; the first named is newer and counts",
                    place_of(model, newest), "remove the one that is stale"});
  });
  list_problems(denied_, "identities with two meanings", problems, [&](Identity number, auto& list) {
    const auto claims = model.identities(number);
    const auto other = std::find_if(claims.begin(), claims.end(),
                                    [&](const auto& claim) { return claim->labels != claims.front()->labels; });
    list.push_back({"identity " + std::to_string(number.value()) + " stands for two sets of labels (also at " +
                        other->provenance->text() + "): endpoints that carry it are left out",
                    claims.front().provenance->text(), "let one label set keep the number and give the other its own"});
  });
}

void EndpointSet::visit(const std::function<bool(const ObjectKey&, const EndpointEntry&)>& visit) const {
  for (const auto& [address, state] : addresses_) {
    if (state.newest.owner != nullptr && !visit(owner_of(address, state.newest), entry_of(address, state.newest))) {
      return;
    }
  }
}

void EndpointSet::find(const IpAddress& address,
                       const std::function<void(const ObjectKey&, const EndpointEntry&)>& visit) const {
  const auto found = addresses_.find(address);
  if (found != addresses_.end() && found->second.newest.owner != nullptr) {
    visit(owner_of(address, found->second.newest), entry_of(address, found->second.newest));
  }
}

}  // namespace isthmus
