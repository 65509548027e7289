#include "control/compile/endpoints.h"

#include <algorithm>
#include <utility>

#include "control/compile/listing.h"
#include "control/compile/locations.h"
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
  return "pod " + key.ns + "/" + key.name + " of cluster " + key.cluster;
}

ObjectKey cilium_endpoint_of(const ObjectKey& pod) {
  return {ObjectKind::kCiliumEndpoint, pod.cluster, pod.ns, pod.name};
}

std::string location_of(const Model& model, const ObjectKey& owner) {
  if (const auto node = model.find<NodeObject>(owner)) {
    return node.provenance.text();
  }
  if (const auto address = model.find<AddressObject>(owner)) {
    return address.provenance.text();
  }
  if (const auto pod = model.find<PodObject>(owner)) {
    return pod.provenance.text();
  }
  const auto endpoint = model.find<CiliumEndpointObject>(cilium_endpoint_of(owner));
  return endpoint ? endpoint.provenance.text() : "";
}

}  // namespace

bool EndpointSet::denied(const Model& model, Identity number) const {
  const auto claims = model.identities(number);
  return std::any_of(claims.begin(), claims.end(),
                     [&](const auto& claim) { return claim->labels != claims.front()->labels; });
}

Identity EndpointSet::checked_identity(const ObjectKey& owner, Identity id, const ProvenanceView& provenance,
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
    state.problems.push_back({owner_text(owner) + " has identity " + std::to_string(id.value()) +
                                  ", which is outside its cluster's range (" + std::to_string(first) + ".." +
                                  std::to_string(first + (1U << shift) - 1) + "); it is treated as world",
                              provenance.text(),
                              "make the cluster id and maxConnectedClusters agree with that cluster's Cilium"});
    return identity::kWorld;
  }
  return id;
}

// A pod of our cluster without one of Cilium's identities gets one by its labels, so that policies select it.
Identity EndpointSet::pod_identity(const ObjectKey& owner, const Model& model, const FleetCluster& cluster,
                                   Owner& state) {
  const auto pod = model.find<PodObject>(owner);
  const auto endpoint = model.find<CiliumEndpointObject>(cilium_endpoint_of(owner));
  const bool known = endpoint && endpoint->identity != identity::kUnknown;
  if (cluster.local && pod && !pod->host_network && !pod->addresses.empty() && !known) {
    return local_.assign(owner, *pod, model);
  }
  local_.release(owner);
  return known ? checked_identity(owner, endpoint->identity, endpoint.provenance, cluster, state)
               : identity::unlabelled(cluster.id);
}

EndpointSet::Desired EndpointSet::desired(const ObjectKey& owner, const Model& model, const FleetCluster& cluster,
                                          Owner& state) {
  Desired desired;
  if (const auto node = model.find<NodeObject>(owner)) {
    const auto add = [&](const std::vector<IpAddress>& addresses, Identity identity) {
      for (const IpAddress& address : addresses) {
        desired[address] = identity;
      }
    };
    add(node->addresses, cluster.local ? identity::kHost : identity::kRemoteNode);
    add(node->inner, cluster.local ? identity::kHost : identity::kRemoteNode);
    add(node->health, identity::kHealth);
    add(*node->ingress, identity::kIngress);
    return desired;
  }
  if (const auto object = model.find<AddressObject>(owner)) {
    if (object->prefix.length128() == 128) {
      const Identity identity = checked_identity(owner, object->identity, object.provenance, cluster, state);
      if (denied_.count(identity) == 0) {
        desired[object->prefix.address()] = identity;
      }
    }
    return desired;
  }
  const auto pod = model.find<PodObject>(owner);
  const auto endpoint = model.find<CiliumEndpointObject>(cilium_endpoint_of(owner));
  const Identity identity = pod_identity(owner, model, cluster, state);
  if (pod && pod->host_network) {
    return desired;
  }
  if (denied_.count(identity) != 0) {
    return desired;
  }
  for (const IpAddress& address : pod ? pod->addresses : std::vector<IpAddress>{}) {
    desired[address] = identity;
  }
  for (const IpAddress& address : endpoint ? endpoint->addresses : std::vector<IpAddress>{}) {
    desired[address] = identity;
  }
  return desired;
}

void EndpointSet::validate_locations(const ObjectKey& owner, const Model& model, const Fleet& fleet, Owner& state,
                                     Desired& now) {
  const FleetCluster* cluster = fleet.find(owner.cluster);
  for (auto w = now.begin(); w != now.end();) {
    const bool node = owner.kind == ObjectKind::kNode || is_node_identity(w->second);
    const Location location = locate(fleet, *cluster, node, w->first);
    if (location.refused.empty()) {
      ++w;
      continue;
    }
    state.problems.push_back(
        {owner_text(owner) + " has address " + w->first.to_string() + ", " + location.refused + "; it is left out",
         location_of(model, owner),
         "correct the address, or add its prefix to the Cluster object or to admission.pods"});
    state.misplaced.push_back(w->first);
    w = now.erase(w);
  }
}

void EndpointSet::refresh(const ObjectKey& owner, const Model& model, const Fleet& fleet) {
  bits_ = fleet.own.cluster_bits;
  own_ = fleet.own.cluster;
  if (owner.kind == ObjectKind::kAddress) {
    return refresh_address(owner, model, fleet);
  }
  const auto it = owners_.try_emplace(owner).first;
  Owner& state = it->second;
  state.problems.clear();
  const std::vector<IpAddress> misplaced = std::exchange(state.misplaced, {});
  Desired now;
  const FleetCluster* cluster = fleet.find(owner.cluster);
  if (cluster != nullptr) {
    now = desired(owner, model, *cluster, state);
    validate_locations(owner, model, fleet, state, now);
  }
  set_misplaced(owner, misplaced, state.misplaced);
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
  update_owner(owner, state);
}

void EndpointSet::refresh_address(const ObjectKey& key, const Model& model, const Fleet& fleet) {
  const auto address = IpAddress::parse(key.name);
  if (!address) {
    return;  // a prefix, which is no endpoint: policies select it as a CIDR
  }
  const ObjectKey& owner = *address_owners_.insert({key.kind, key.cluster, {}, {}}).first;
  Owner state;
  Desired now;
  const FleetCluster* cluster = fleet.find(key.cluster);
  if (cluster != nullptr) {
    now = desired(key, model, *cluster, state);
    validate_locations(key, model, fleet, state, now);
  }
  if (const auto found = now.find(*address); found != now.end()) {
    claim(owner, *address, cluster->id, found->second);
  } else {
    withdraw(owner, *address);
  }
  const bool invalid = !state.problems.empty();
  if (const auto known = owners_.find(key); invalid || known != owners_.end()) {
    set_misplaced(key, known == owners_.end() ? std::vector<IpAddress>{} : known->second.misplaced, state.misplaced);
    owners_[key] = std::move(state);
    update_owner(key, owners_[key]);
  }
}

void EndpointSet::set_misplaced(const ObjectKey& owner, const std::vector<IpAddress>& before,
                                const std::vector<IpAddress>& now) {
  if (before != now) {
    for (const IpAddress& address : before) {
      misplaced_.erase({address, owner});
    }
    for (const IpAddress& address : now) {
      misplaced_.emplace(address, owner);
    }
  }
}

void EndpointSet::update_owner(const ObjectKey& owner, const Owner& state) {
  if (state.problems.empty()) {
    invalid_.erase(owner);
  } else {
    invalid_.insert(owner);
  }
  if (state.addresses.empty() && state.problems.empty()) {
    owners_.erase(owner);
  }
}

EndpointEntry EndpointSet::entry_of(const IpAddress& address, const Address& state) const {
  return {realm_, address, state.newest.cluster, state.newest.identity, state.published_node};
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
  const bool had = is_incumbent(address, owner.cluster);
  if (had) {
    returned_.push_back(address);
  }
  touched_.push_back(address);
  if (state.newest.owner == nullptr || state.newest.owner == &owner) {
    state.newest = now;
    if (state.older != nullptr) {
      resolve(address, state);
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
  } else if (cluster != state.newest.cluster &&
             !(had ? state.newest.cluster != own_ : goes_before(now, address, state))) {
    state.older->push_back(now);
  } else {
    state.older->push_back(std::exchange(state.newest, now));
  }
  resolve(address, state);
}

void EndpointSet::resolve(const IpAddress& address, Address& state) {
  note_dispute(address, state);
  if (state.older == nullptr) {
    contested_.erase(address);
    return;
  }
  // An address object without an identity only says that the address is an endpoint.
  const auto bare = [](const Claim& c) {
    return c.owner->kind == ObjectKind::kAddress && identity::is_unlabelled(c.identity);
  };
  auto& older = *state.older;
  if (bare(state.newest)) {
    const auto better = std::find_if(older.rbegin(), older.rend(),
                                     [&](const Claim& c) { return !bare(c) && c.cluster == state.newest.cluster; });
    if (better != older.rend()) {
      std::swap(state.newest, *better);
    }
  }
  // An ipcache repeats the addresses of a node: with the same identity that is no conflict.
  const auto agrees = [&](const Claim& c) {
    const bool of_node = c.owner->kind == ObjectKind::kNode || state.newest.owner->kind == ObjectKind::kNode;
    return bare(c) || (of_node && c.identity == state.newest.identity && c.owner->kind != state.newest.owner->kind);
  };
  // Agreeing claims first, so that the last one is the newest that conflicts, if any does.
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
      const auto same =
          std::find_if(older.rbegin(), older.rend(), [&](const Claim& c) { return c.cluster == state.newest.cluster; });
      const auto other = std::min_element(older.rbegin(), older.rend(),
                                          [&](const Claim& a, const Claim& b) { return order(a) < order(b); });
      const auto next = std::prev((same == older.rend() ? other : same).base());
      state.newest = *next;
      older.erase(next);
    } else {
      older.erase(std::remove_if(older.begin(), older.end(), [&](const Claim& c) { return c.owner == &owner; }),
                  older.end());
    }
    if (older.empty()) {
      state.older.reset();
    }
    resolve(address, state);
  } else if (state.newest.owner == &owner) {
    state.newest = {};
  }
}

std::vector<IpAddress> EndpointSet::take_changes(EndpointNodes& nodes, std::vector<EndpointEntry>& upsert,
                                                 std::vector<IpAddress>& remove) {
  std::vector<IpAddress> moved;
  for (const IpAddress& address : std::exchange(returned_, {})) {
    incumbents_.erase(address);  // what is published says it from now on
  }
  for (const IpAddress& address : std::exchange(touched_, {})) {
    const auto it = addresses_.find(address);
    if (it == addresses_.end()) {
      continue;
    }
    Address& state = it->second;
    const PeerId node = node_of(address, state.newest, nodes);
    if (node != state.published_node) {
      moved.push_back(address);
    }
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
    if (!state.published || state.published_cluster != now.cluster || state.published_identity != now.identity ||
        state.published_node != node) {
      state.published_node = node;
      upsert.push_back(entry_of(address, state));
      published_ += state.published ? 0 : 1;
      count(state, -1);
      state.published = true;
      state.published_cluster = now.cluster;
      state.published_identity = now.identity;
      count(state, 1);
    }
  }
  return moved;
}

// Adds `change` to the pod count of the cluster and kind that `state` is published with.
void EndpointSet::count(const Address& state, int change) {
  const std::uint32_t number = state.published_identity.value();
  const bool labelled = number >= identity::kFirstAllocated && number >> identity::kScopeShift == 0;
  if (state.published && (labelled || identity::is_unlabelled(state.published_identity))) {
    PodCounts& counts = pod_counts_[state.published_cluster];
    std::size_t& pods = labelled ? counts.labelled : counts.unlabelled;
    const bool was_zero = pods == 0;
    pods += static_cast<std::size_t>(change);
    pod_presence_changed_ = pod_presence_changed_ || was_zero != (pods == 0);
  }
}

void EndpointSet::append_problems(const Model& model, std::vector<Problem>& problems) const {
  list_problems(invalid_, "pods or nodes with problems", problems, [&](const ObjectKey& key, auto& list) {
    const Owner& owner = owners_.at(key);
    list.insert(list.end(), owner.problems.begin(), owner.problems.end());
  });
  list_problems(contested_, "addresses claimed by several owners", problems, [&](const IpAddress& address, auto& list) {
    const Address& state = addresses_.find(address)->second;
    const ObjectKey newest = owner_of(address, state.newest), other = owner_of(address, state.older->back());
    list.push_back({owner_text(newest) + " and " + owner_text(other) + " (" + location_of(model, other) +
                        ") have the same address " + address.to_string() + "; the first " +
                        (newest.cluster == other.cluster ? "is newer and is used" : "had it and is used"),
                    location_of(model, newest), "remove the stale one"});
  });
  list_unkept(model, problems);
  list_problems(denied_, "identities with conflicting labels", problems, [&](Identity number, auto& list) {
    const auto claims = model.identities(number);
    const auto other = std::find_if(claims.begin(), claims.end(),
                                    [&](const auto& claim) { return claim->labels != claims.front()->labels; });
    list.push_back({"identity " + std::to_string(number.value()) + " has two different label sets (the other at " +
                        other->provenance.text() + "): endpoints with this identity are left out",
                    claims.front().provenance.text(), "give one of the two label sets another identity number"});
  });
}

void EndpointSet::visit(const std::function<bool(const ObjectKey&, const EndpointEntry&)>& visit) const {
  for (const auto& [address, state] : addresses_) {
    if (state.newest.owner != nullptr && !visit(owner_of(address, state.newest), entry_of(address, state))) {
      return;
    }
  }
}

void EndpointSet::visit_inside(const Prefix& prefix,
                               const std::function<void(const ObjectKey&, const EndpointEntry&)>& visit) const {
  for (auto at = addresses_.lower_bound(prefix.address()); at != addresses_.end() && prefix.contains(at->first); ++at) {
    if (at->second.newest.owner != nullptr) {
      visit(owner_of(at->first, at->second.newest), entry_of(at->first, at->second));
    }
  }
}

PeerId EndpointSet::node_at(const IpAddress& address) const {
  const auto found = addresses_.find(address);
  return found == addresses_.end() ? kNoPeer : found->second.published_node;
}

ClusterId EndpointSet::cluster_at(const IpAddress& address) const {
  const auto found = addresses_.find(address);
  const bool known = found != addresses_.end() && found->second.newest.owner != nullptr;
  return known ? found->second.newest.cluster : kNoCluster;
}

void EndpointSet::find(const IpAddress& address,
                       const std::function<void(const ObjectKey&, const EndpointEntry&)>& visit) const {
  const auto found = addresses_.find(address);
  if (found != addresses_.end() && found->second.newest.owner != nullptr) {
    visit(owner_of(address, found->second.newest), entry_of(address, found->second));
  }
}

}  // namespace isthmus
