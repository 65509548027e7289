#include "control/model/model.h"

#include <algorithm>

namespace isthmus {

const char* kind_text(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kCluster:
      return "Cluster";
    case ObjectKind::kGateway:
      return "Gateway";
    case ObjectKind::kProfile:
      return "CrossClusterNetworkProfile";
    case ObjectKind::kNamespace:
      return "Namespace";
    case ObjectKind::kService:
      return "Service";
    case ObjectKind::kSlice:
      return "EndpointSlice";
    case ObjectKind::kPod:
      return "Pod";
    case ObjectKind::kCiliumEndpoint:
      return "CiliumEndpoint";
    case ObjectKind::kIdentity:
      return "CiliumIdentity";
    case ObjectKind::kAddress:
      return "address";
    case ObjectKind::kNode:
      return "Node";
    case ObjectKind::kServiceImport:
      return "ServiceImport";
    case ObjectKind::kCidrGroup:
      return "CiliumCIDRGroup";
    case ObjectKind::kNetworkPolicy:
      return "NetworkPolicy";
    case ObjectKind::kCiliumPolicy:
      return "CiliumNetworkPolicy";
    case ObjectKind::kClusterwidePolicy:
      return "CiliumClusterwideNetworkPolicy";
    case ObjectKind::kAgentConfig:
      return "ConfigMap";
  }
  return "object";
}

namespace {

std::string key_text(const ObjectKey& key) {
  std::string text = kind_text(key.kind);
  text += " " + (key.ns.empty() ? key.name : key.ns + "/" + key.name);
  return key.cluster.empty() ? text : text + " of cluster " + key.cluster;
}

}  // namespace

void Model::apply(SourceNumber source, const ObjectDelta& delta) { set_version(source, delta, false); }

void Model::restore(SourceNumber source, const ObjectDelta& delta) {
  if (delta.value && version_of(source, delta.key) == nullptr) {
    set_version(source, delta, true);
  }
}

void Model::forget(SourceNumber source, const ObjectKey& key) {
  const auto it = objects_.find(key);
  if (it != objects_.end() && std::any_of(it->second.begin(), it->second.end(), [&](const Version& version) {
        return version.source == source && version.restored;
      })) {
    set_version(source, {key, std::nullopt, {}}, false);
  }
}

const ObjectValue* Model::version_of(SourceNumber source, const ObjectKey& key) const {
  const Version* found = find_version(source, key);
  return found == nullptr ? nullptr : &found->value;
}

Model::Said Model::said(SourceNumber source, const ObjectKey& key) const {
  const Version* found = find_version(source, key);
  return found == nullptr ? Said{} : Said{&found->value, provenance_of(key, *found), found->restored};
}

const Model::Version* Model::find_version(SourceNumber source, const ObjectKey& key) const {
  const auto it = objects_.find(key);
  if (it == objects_.end()) {
    return nullptr;
  }
  const auto at = std::find_if(it->second.begin(), it->second.end(),
                               [&](const Version& version) { return version.source == source; });
  return at == it->second.end() ? nullptr : &*at;
}

void Model::count_restored(SourceNumber source, const ObjectKey& key, int change) {
  const RestoredPart part{source, key.kind, key.cluster};
  std::size_t& count = restored_[part];
  count += static_cast<std::size_t>(change);
  if (count == 0) {
    restored_.erase(part);
  }
}

Model::Version Model::version_for(SourceNumber source, const ObjectDelta& delta, bool restored) {
  const std::string& location = delta.provenance.location;
  const bool named = !delta.key.name.empty() && location.ends_with(delta.key.name);
  const auto place = places_.try_emplace(location.substr(0, location.size() - (named ? delta.key.name.size() : 0)), 0);
  ++place.first->second;
  return {source, restored, named, delta.provenance.line, &*place.first, *delta.value};
}

void Model::release_place(Place* place) {
  if (--place->second == 0) {
    places_.erase(places_.find(place->first));
  }
}

void Model::set_version(SourceNumber source, const ObjectDelta& delta, bool restored) {
  if (!delta.value && objects_.find(delta.key) == objects_.end()) {
    return;
  }
  const auto [it, fresh] = objects_.try_emplace(delta.key);
  Versions& versions = it->second;
  const auto position =
      std::find_if(versions.begin(), versions.end(), [&](const Version& v) { return v.source >= source; });
  const bool present = position != versions.end() && position->source == source;
  if (present && position->restored) {
    count_restored(source, delta.key, -1);
  }
  if (restored) {
    count_restored(source, delta.key, 1);
  }
  if (present != delta.value.has_value()) {
    sizes_[source] += present ? std::size_t(-1) : 1;
  }
  // What is in effect afterwards, if it is not what was.
  const ObjectValue* before = fresh ? nullptr : &versions.front().value;
  const ObjectValue* after = before;
  if (position == versions.begin() && (present || delta.value)) {
    after = delta.value ? &*delta.value : versions.size() > 1 ? &versions[1].value : nullptr;
  }
  const bool changed = before == nullptr || after == nullptr || !(*before == *after);
  if (changed && before != nullptr) {
    unindex(it->first, *before);
  }
  Place* const released = present ? position->place : nullptr;
  if (!delta.value) {
    if (present) {
      versions.erase(position);
    }
  } else if (present) {
    *position = version_for(source, delta, restored);
  } else {
    versions.insert(position, version_for(source, delta, restored));
  }
  if (released != nullptr) {
    release_place(released);
  }
  if (changed && !versions.empty()) {
    index(it->first, versions.front().value);
  }
  if (versions.size() > 1) {
    duplicated_.insert(delta.key);
  } else {
    duplicated_.erase(delta.key);
  }
  if (versions.empty()) {
    objects_.erase(it);
  }
}

void Model::count_service(const ObjectKey& key, const ObjectValue& value, int change) {
  const auto* slice = std::get_if<SliceObject>(&value);
  if (slice == nullptr && key.kind != ObjectKind::kService && key.kind != ObjectKind::kServiceImport) {
    return;
  }
  const ServiceName name{key.ns, slice == nullptr ? key.name : slice->service};
  auto& clusters = services_[name];
  if ((clusters[key.cluster] += change) == 0) {
    clusters.erase(key.cluster);
  }
  if (clusters.empty()) {
    services_.erase(name);
  }
}

std::vector<std::string> Model::clusters_of(const ServiceName& service) const {
  std::vector<std::string> clusters;
  if (const auto of = services_.find(service); of != services_.end()) {
    for (const auto& [cluster, objects] : of->second) {
      clusters.push_back(cluster);
    }
  }
  return clusters;
}

void Model::unindex(const ObjectKey& key, const ObjectValue& value) {
  count_service(key, value, -1);
  if (const auto* slice = std::get_if<SliceObject>(&value)) {
    const auto of = slices_.find({key.cluster, {key.ns, slice->service}});
    of->second.erase(key.name);
    if (of->second.empty()) {
      slices_.erase(of);
    }
  } else if (const auto* identity = std::get_if<IdentityObject>(&value)) {
    const auto of = identities_.find(identity->id);
    of->second.erase(key);
    if (of->second.empty()) {
      identities_.erase(of);
    }
  }
  if (!key.cluster.empty()) {
    const auto publisher = publishers_.find(key.cluster);
    if (--publisher->second == 0) {
      publishers_.erase(publisher);
      changes_.fleet = true;
    }
  }
  mark(key, value);
}

void Model::index(const ObjectKey& key, const ObjectValue& value) {
  count_service(key, value, 1);
  if (const auto* slice = std::get_if<SliceObject>(&value)) {
    slices_[{key.cluster, {key.ns, slice->service}}].insert(key.name);
  } else if (const auto* identity = std::get_if<IdentityObject>(&value)) {
    identities_[identity->id].insert(key);
  }
  if (!key.cluster.empty() && publishers_[key.cluster]++ == 0) {
    changes_.fleet = true;
  }
  mark(key, value);
}

void Model::mark(const ObjectKey& key, const ObjectValue& value) {
  switch (key.kind) {
    case ObjectKind::kCluster:
      changes_.clusters.insert(key);
      break;
    case ObjectKind::kGateway:
    case ObjectKind::kProfile:
      changes_.fleet = true;
      break;
    case ObjectKind::kNamespace:
      mark_namespace(key);
      break;
    case ObjectKind::kService:
    case ObjectKind::kServiceImport:
      changes_.services.insert({key.ns, key.name});
      break;
    case ObjectKind::kSlice:
      if (const auto* slice = std::get_if<SliceObject>(&value)) {
        changes_.services.insert({key.ns, slice->service});
      }
      break;
    case ObjectKind::kPod:
    case ObjectKind::kCiliumEndpoint:
      changes_.endpoints.insert({ObjectKind::kPod, key.cluster, key.ns, key.name});
      break;
    case ObjectKind::kAddress:
      changes_.endpoints.insert(key);
      break;
    case ObjectKind::kNode:
      changes_.nodes.insert(key);
      break;
    case ObjectKind::kIdentity:
      if (const auto* identity = std::get_if<IdentityObject>(&value)) {
        changes_.identities.insert(identity->id);
      }
      break;
    case ObjectKind::kCidrGroup:
    case ObjectKind::kNetworkPolicy:
    case ObjectKind::kCiliumPolicy:
    case ObjectKind::kClusterwidePolicy:
    case ObjectKind::kAgentConfig:
      changes_.policies.insert(key);
      break;
  }
}

void Model::mark_namespace(const ObjectKey& key) {
  const ObjectKey first{ObjectKind::kService, key.cluster, key.name, {}};
  for (auto it = objects_.lower_bound(first); it != objects_.end() && it->first.kind == first.kind &&
                                              it->first.cluster == first.cluster && it->first.ns == key.name;
       ++it) {
    changes_.services.insert({key.name, it->first.name});
  }
  // Of pods that have no CiliumEndpoint, the Namespace's labels are part of the identity.
  const ObjectKey pod{ObjectKind::kPod, key.cluster, key.name, {}};
  for (auto it = objects_.lower_bound(pod); it != objects_.end() && it->first.kind == pod.kind &&
                                            it->first.cluster == pod.cluster && it->first.ns == key.name;
       ++it) {
    changes_.endpoints.insert(it->first);
  }
}

std::vector<Model::Found<SliceObject>> Model::slices_of(const std::string& cluster, const ServiceName& service) const {
  std::vector<Found<SliceObject>> found;
  if (const auto of = slices_.find({cluster, service}); of != slices_.end()) {
    for (const std::string& name : of->second) {
      found.push_back(find<SliceObject>({ObjectKind::kSlice, cluster, service.ns, name}));
    }
  }
  return found;
}

std::set<ServiceName> Model::service_names() const {
  std::set<ServiceName> names;
  for (const auto& [name, clusters] : services_) {
    names.insert(names.end(), name);
  }
  return names;
}

std::vector<Model::Found<IdentityObject>> Model::identities(Identity number) const {
  std::vector<Found<IdentityObject>> found;
  if (const auto of = identities_.find(number); of != identities_.end()) {
    for (const ObjectKey& key : of->second) {
      found.push_back(find<IdentityObject>(key));
    }
  }
  return found;
}

std::vector<ObjectKey> Model::identity_keys(Identity number) const {
  const auto of = identities_.find(number);
  return of == identities_.end() ? std::vector<ObjectKey>()
                                 : std::vector<ObjectKey>(of->second.begin(), of->second.end());
}

std::vector<Problem> Model::problems() const {
  constexpr std::size_t kMostListed = 100;
  std::vector<Problem> problems;
  for (const ObjectKey& key : duplicated_) {
    if (problems.size() == kMostListed) {
      problems.push_back({std::to_string(duplicated_.size() - kMostListed) + " more objects published by several hubs",
                          {},
                          "remove each of them from all hubs but one"});
      break;
    }
    const Versions& versions = objects_.at(key);
    problems.push_back({key_text(key) + " is published by more than one hub; the version from " +
                            provenance_of(key, versions[1]).text() + " is ignored",
                        provenance_of(key, versions[0]).text(), "remove it from one of the hubs"});
  }
  return problems;
}

}  // namespace isthmus
