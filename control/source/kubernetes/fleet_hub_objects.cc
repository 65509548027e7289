#include "control/source/kubernetes/fleet_hub_objects.h"

#include <algorithm>
#include <tuple>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

std::string name_text(const FleetServiceName& name) {
  return name.first.empty() ? name.second : name.first + "/" + name.second;
}

FleetServiceName name_of(const YamlNode& object) {
  return {metadata_text(object, "namespace"), metadata_text(object, "name")};
}

bool is_deleting(const YamlNode& object) { return !metadata_text(object, "deletionTimestamp").empty(); }

}  // namespace

FleetHubObjects::FleetHubObjects(FleetHubObjectsOptions options) : options_(std::move(options)) {
  const std::vector<std::string> networking{"networking.fleet.azure.com/v1alpha1"};
  const std::vector<std::string> clusters{"cluster.kubernetes-fleet.io/v1beta1", "cluster.kubernetes-fleet.io/v1"};
  resources_ = {{"endpointsliceexports", "EndpointSliceExport", networking, false},
                {"internalserviceexports", "InternalServiceExport", networking, false},
                {"serviceimports", "ServiceImport", networking, false},
                {"memberclusters", "MemberCluster", clusters, false},
                {"internalmemberclusters", "InternalMemberCluster", clusters, true}};
  resource_states_.resize(resources_.size());
}

template <typename T, typename Read, typename Changed>
void FleetHubObjects::accept(Table<T>& table, std::size_t resource, const std::string& version, const YamlNode& object,
                             Read read, Changed changed) {
  const Name name = name_of(object);
  Counts& counts = resource_states_[resource].counts;
  if (name.second.empty()) {
    ++counts.rejected;
    log(resources_[resource].plural + " of " + options_.server + ": an object without a name is ignored");
    return;
  }
  Entry<T>& entry = table[name];
  entry.generation = resource_states_[resource].generation;
  entry.location = object_url(options_.server, resources_[resource], version, object);
  YamlErrors errors;
  std::optional<T> value = read(object, errors);
  if (!value) {
    ++counts.rejected;
    counts.invalid.insert(name_text(name));
    if (entry.errors.empty() || entry.errors.front().what != errors.front().what) {
      log(resources_[resource].kind + " " + name_text(name) + " is invalid: " + errors.front().what +
          (entry.value ? "; the previous version stays in force" : ""));
    }
    entry.errors = std::move(errors);
    return;
  }
  counts.invalid.erase(name_text(name));
  counts.objects += entry.value ? 0 : 1;
  entry.errors.clear();
  const std::optional<T> before = std::exchange(entry.value, std::move(value));
  changed(name, before, entry.value);
}

template <typename T, typename Changed>
void FleetHubObjects::release(Table<T>& table, std::size_t resource, const Name& name, Changed changed) {
  const auto at = table.find(name);
  if (at == table.end()) {
    return;
  }
  const std::optional<T> before = std::move(at->second.value);
  table.erase(at);
  resource_states_[resource].counts.invalid.erase(name_text(name));
  resource_states_[resource].counts.objects -= before ? 1 : 0;
  changed(name, before, std::nullopt);
}

template <typename T, typename Changed>
void FleetHubObjects::remove_stale(Table<T>& table, std::size_t resource, Changed changed) {
  std::vector<Name> stale;
  for (const auto& [name, entry] : table) {
    if (entry.generation != resource_states_[resource].generation) {
      stale.push_back(name);
    }
  }
  for (const Name& name : stale) {
    release(table, resource, name, changed);
  }
}

void FleetHubObjects::list_begins(std::size_t resource) { ++resource_states_[resource].generation; }

void FleetHubObjects::list_ends(std::size_t resource) {
  resource_states_[resource].listed = true;
  switch (resource) {
    case kSliceExports:
      remove_stale(slices_, resource, [this](auto&&... args) { slice_changed(args...); });
      break;
    case kServiceExports:
      remove_stale(exports_, resource, [this](auto&&... args) { export_changed(args...); });
      break;
    case kServiceImports:
      remove_stale(imports_, resource, [this](const Name& name, auto&&, auto&& now) { import_changed(name, now); });
      break;
    case kMembers:
      remove_stale(members_, resource, [this](auto&&, auto&& before, auto&& now) { member_changed(before, now); });
      break;
    default:
      remove_stale(internal_members_, resource, [](auto&&...) {});
  }
}

void FleetHubObjects::put(std::size_t resource, const std::string& version, const YamlNode& object) {
  if (is_deleting(object)) {
    removed(resource, object);
    return;
  }
  switch (resource) {
    case kSliceExports:
      accept(slices_, resource, version, object, read_slice_export, [this](auto&&... args) { slice_changed(args...); });
      break;
    case kServiceExports:
      accept(exports_, resource, version, object, read_service_export,
             [this](auto&&... args) { export_changed(args...); });
      break;
    case kServiceImports:
      accept(imports_, resource, version, object, read_import_clusters,
             [this](const Name& name, auto&&, auto&& now) { import_changed(name, now); });
      break;
    case kMembers:
      accept(members_, resource, version, object, read_member,
             [this](auto&&, auto&& before, auto&& now) { member_changed(before, now); });
      break;
    default:
      accept(internal_members_, resource, version, object, read_member, [](auto&&...) {});
  }
}

void FleetHubObjects::removed(std::size_t resource, const YamlNode& object) {
  const Name name = name_of(object);
  switch (resource) {
    case kSliceExports:
      release(slices_, resource, name, [this](auto&&... args) { slice_changed(args...); });
      break;
    case kServiceExports:
      release(exports_, resource, name, [this](auto&&... args) { export_changed(args...); });
      break;
    case kServiceImports:
      release(imports_, resource, name, [this](const Name& of, auto&&, auto&& now) { import_changed(of, now); });
      break;
    case kMembers:
      release(members_, resource, name, [this](auto&&, auto&& before, auto&& now) { member_changed(before, now); });
      break;
    default:
      release(internal_members_, resource, name, [](auto&&...) {});
  }
}

void FleetHubObjects::unavailable(std::size_t resource) { resource_states_[resource].unavailable = true; }

void FleetHubObjects::slice_changed(const Name& name, const std::optional<FleetSliceExport>& before,
                                    const std::optional<FleetSliceExport>& now) {
  if (before) {
    services_[before->service].slices.erase(name);
    touched_.insert(before->service);
  }
  if (now) {
    services_[now->service].slices.insert(name);
    touched_.insert(now->service);
  }
}

void FleetHubObjects::export_changed(const Name& name, const std::optional<FleetServiceExport>& before,
                                     const std::optional<FleetServiceExport>& now) {
  if (before) {
    services_[before->service].exports.erase(name);
    touched_.insert(before->service);
  }
  if (now) {
    services_[now->service].exports.insert(name);
    touched_.insert(now->service);
  }
}

void FleetHubObjects::import_changed(const Name& name, const std::optional<std::set<std::string>>& now) {
  Import& import = in_force_[name];
  import.blank = !now || now->empty();
  if (!import.blank) {
    import.clusters = *now;
    import.blank_deadline.reset();
    touched_.insert(name);
  } else if (import.clusters.empty()) {
    in_force_.erase(name);
  }
}

void FleetHubObjects::member_changed(const std::optional<FleetMember>& before, const std::optional<FleetMember>& now) {
  if ((before && before->joined) == (now && now->joined)) {
    return;
  }
  for (const auto& [name, service] : services_) {
    touched_.insert(name);
  }
}

void FleetHubObjects::apply_blank_imports(Clock::time_point now) {
  for (auto at = in_force_.begin(); at != in_force_.end();) {
    Import& import = at->second;
    if (import.blank && !import.blank_deadline) {
      import.blank_deadline = now + options_.blank_retention;
    }
    if (import.blank && now >= *import.blank_deadline) {
      touched_.insert(at->first);
      at = in_force_.erase(at);
    } else {
      ++at;
    }
  }
}

std::optional<ApiObjects::Clock::time_point> FleetHubObjects::due() const {
  std::optional<Clock::time_point> first;
  for (const auto& [name, import] : in_force_) {
    if (import.blank_deadline && (!first || *import.blank_deadline < *first)) {
      first = import.blank_deadline;
    }
  }
  return first;
}

bool FleetHubObjects::ready() const {
  return std::all_of(resource_states_.begin(), resource_states_.begin() + kInternalMembers,
                     [](const ResourceState& part) { return part.listed || part.unavailable; });
}

bool FleetHubObjects::has_joined(const std::string& cluster) const {
  if (!resource_states_[kMembers].listed) {
    return true;  // not known: only the other conditions apply
  }
  const auto at = members_.find({{}, cluster});
  return at != members_.end() && at->second.value && at->second.value->joined;
}

const FleetMember* FleetHubObjects::member(const std::string& cluster) const {
  const auto at = members_.find({{}, cluster});
  if (at != members_.end() && at->second.value && at->second.value->heartbeat != 0) {
    return &*at->second.value;
  }
  const auto internal = internal_members_.find({"fleet-member-" + cluster, cluster});
  return internal != internal_members_.end() && internal->second.value ? &*internal->second.value : nullptr;
}

std::map<std::string, FleetHubObjects::Name> FleetHubObjects::valid_exports(const Name& service,
                                                                            const Service& state) const {
  std::map<std::string, Name> out;
  const auto import = in_force_.find(service);
  if (import == in_force_.end()) {
    return out;
  }
  for (const Name& name : state.exports) {
    const FleetServiceExport& candidate = *exports_.at(name).value;
    const bool counts = candidate.conflict == FleetServiceExport::Conflict::kFalse &&
                        candidate.cluster != options_.own_cluster &&
                        import->second.clusters.contains(candidate.cluster) && has_joined(candidate.cluster);
    const auto [at, added] = counts ? out.try_emplace(candidate.cluster, name) : std::pair(out.end(), false);
    if (counts && !added && exports_.at(at->second).value->created < candidate.created) {
      at->second = name;
    }
  }
  return out;
}

// The objects of a service. If several exports are of one slice (its export was renamed), the newest is used.
FleetHubObjects::Objects FleetHubObjects::desired(const Name& name, const Service& state,
                                                  std::set<ObjectKey>& addresses) const {
  const auto valid = valid_exports(name, state);
  Objects out;
  for (const auto& [cluster, at] : valid) {
    const auto& entry = exports_.at(at);
    ServiceObject service;
    service.global = true;
    service.ports = entry.value->ports;
    service.created = entry.value->created;
    out[{ObjectKind::kService, cluster, name.first, name.second}] = {
        std::make_shared<const ObjectValue>(std::move(service)), entry.location};
  }
  std::map<ObjectKey, std::pair<const Entry<FleetSliceExport>*, const Name*>> chosen;
  for (const Name& slice : state.slices) {
    const auto& entry = slices_.at(slice);
    const FleetSliceExport& candidate = *entry.value;
    if (!valid.contains(candidate.cluster)) {
      continue;
    }
    auto& best = chosen[{ObjectKind::kSlice, candidate.cluster, name.first, candidate.slice}];
    const auto age = [](const Entry<FleetSliceExport>& of, const Name& its) {
      return std::tuple(of.value->created, of.value->generation, its);
    };
    if (best.first == nullptr || age(*best.first, *best.second) < age(entry, slice)) {
      best = {&entry, &slice};
    }
  }
  for (const auto& [key, best] : chosen) {
    for (const SliceEndpoint& endpoint : best.first->value->value.endpoints) {
      for (const IpAddress& address : endpoint.addresses) {
        addresses.insert({ObjectKind::kAddress, key.cluster, {}, address.to_string()});
      }
    }
    out[key] = {std::make_shared<const ObjectValue>(best.first->value->value), best.first->location};
  }
  return out;
}

void FleetHubObjects::reconcile_addresses(Service& service, std::set<ObjectKey> now, std::vector<ObjectDelta>& removed,
                                          std::vector<ObjectDelta>& changed) {
  for (const ObjectKey& key : now) {
    if (!service.addresses_used.contains(key) && address_users_[key]++ == 0) {
      AddressObject address;
      address.prefix = *Prefix::parse(key.name);
      changed.push_back({key, address, {options_.server, 0}});
    }
  }
  for (const ObjectKey& key : service.addresses_used) {
    if (!now.contains(key) && --address_users_[key] == 0) {
      address_users_.erase(key);
      removed.push_back({key, std::nullopt, {options_.server, 0}});
    }
  }
  service.addresses_used = std::move(now);
}

void FleetHubObjects::reconcile(const Name& name, std::vector<ObjectDelta>& removed,
                                std::vector<ObjectDelta>& changed) {
  const auto at = services_.find(name);
  if (at == services_.end()) {
    return;
  }
  Service& service = at->second;
  std::set<ObjectKey> addresses;
  Objects now = desired(name, service, addresses);
  reconcile_addresses(service, std::move(addresses), removed, changed);
  for (const auto& [key, before] : service.published) {
    if (!now.contains(key)) {
      removed.push_back({key, std::nullopt, {before.location, 0}});
    }
  }
  for (const auto& [key, published] : now) {
    const auto before = service.published.find(key);
    if (before == service.published.end() || *before->second.value != *published.value) {
      changed.push_back({key, *published.value, {published.location, 0}});
    }
  }
  service.published = std::move(now);
  if (service.published.empty() && service.slices.empty() && service.exports.empty()) {
    services_.erase(at);
  }
}

std::vector<ObjectDelta> FleetHubObjects::take_deltas(Clock::time_point now) {
  apply_blank_imports(now);
  if (!ready()) {
    return {};
  }
  std::vector<ObjectDelta> removed, changed;
  for (const Name& name : std::exchange(touched_, {})) {
    reconcile(name, removed, changed);
  }
  // An address that moved from one service to another within this call was never absent.
  std::set<ObjectKey> changed_keys;
  for (const ObjectDelta& delta : changed) {
    changed_keys.insert(delta.key);
  }
  removed.erase(std::remove_if(removed.begin(), removed.end(),
                               [&](const ObjectDelta& delta) { return changed_keys.contains(delta.key); }),
                removed.end());
  removed.insert(removed.end(), std::make_move_iterator(changed.begin()), std::make_move_iterator(changed.end()));
  return removed;
}

template <typename T>
void FleetHubObjects::add_problems(const Table<T>& table, std::vector<SourceProblem>& out) const {
  for (const auto& [name, entry] : table) {
    for (const YamlError& error : entry.errors) {
      out.push_back(
          {{entry.location, 0}, error.what + (entry.value ? "; the previous version stays in force" : ""), error.fix});
    }
  }
}

std::vector<SourceProblem> FleetHubObjects::problems(WallClock::time_point now) const {
  std::vector<SourceProblem> out;
  add_problems(slices_, out);
  add_problems(exports_, out);
  add_problems(imports_, out);
  add_problems(members_, out);
  add_problems(internal_members_, out);
  const std::int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  std::set<std::string> exporters;
  for (const auto& [name, entry] : exports_) {
    if (!entry.value) {
      continue;
    }
    exporters.insert(entry.value->cluster);
    if (entry.value->conflict == FleetServiceExport::Conflict::kTrue) {
      out.push_back({{entry.location, 0},
                     "Service " + name_text(entry.value->service) + " of cluster " + entry.value->cluster +
                         " is not used: its ports differ from those of the fleet's ServiceImport",
                     "give the Service the same ports in every cluster, in the same order"});
    }
  }
  for (const std::string& cluster : exporters) {
    const FleetMember* found = member(cluster);
    if (found != nullptr && found->heartbeat != 0 &&
        seconds - found->heartbeat > found->period * static_cast<std::int64_t>(options_.heartbeats_missed)) {
      out.push_back({{options_.server, 0},
                     "the hub has received no heartbeat from the agent of cluster " + cluster + " for more than " +
                         std::to_string(options_.heartbeats_missed) + " periods; its endpoints may be outdated",
                     "check the member's agents and its connection to the hub"});
    }
  }
  return out;
}

}  // namespace isthmus
