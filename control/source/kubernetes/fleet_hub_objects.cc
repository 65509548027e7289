#include "control/source/kubernetes/fleet_hub_objects.h"

#include <algorithm>
#include <tuple>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

std::string text_of(const FleetServiceName& name) {
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
  parts_.resize(resources_.size());
}

template <typename T, typename Read, typename Changed>
void FleetHubObjects::hold(Table<T>& table, std::size_t resource, const std::string& version, const YamlNode& object,
                           Read read, Changed changed) {
  const Name name = name_of(object);
  Counts& counts = parts_[resource].counts;
  if (name.second.empty()) {
    ++counts.rejected;
    log(resources_[resource].plural + " of " + options_.server + ": an object without a name is passed over");
    return;
  }
  Held<T>& held = table[name];
  held.generation = parts_[resource].generation;
  held.place = object_url(options_.server, resources_[resource], version, object);
  YamlFaults faults;
  std::optional<T> value = read(object, faults);
  if (!value) {
    ++counts.rejected;
    counts.bad.insert(text_of(name));
    if (held.faults.empty() || held.faults.front().what != faults.front().what) {
      log(resources_[resource].kind + " " + text_of(name) + " is refused: " + faults.front().what +
          (held.value ? "; the version before stays in force" : ""));
    }
    held.faults = std::move(faults);
    return;
  }
  counts.bad.erase(text_of(name));
  counts.objects += held.value ? 0 : 1;
  held.faults.clear();
  const std::optional<T> before = std::exchange(held.value, std::move(value));
  changed(name, before, held.value);
}

template <typename T, typename Changed>
void FleetHubObjects::let_go(Table<T>& table, std::size_t resource, const Name& name, Changed changed) {
  const auto at = table.find(name);
  if (at == table.end()) {
    return;
  }
  const std::optional<T> before = std::move(at->second.value);
  table.erase(at);
  parts_[resource].counts.bad.erase(text_of(name));
  parts_[resource].counts.objects -= before ? 1 : 0;
  changed(name, before, std::nullopt);
}

template <typename T, typename Changed>
void FleetHubObjects::sweep(Table<T>& table, std::size_t resource, Changed changed) {
  std::vector<Name> gone;
  for (const auto& [name, held] : table) {
    if (held.generation != parts_[resource].generation) {
      gone.push_back(name);
    }
  }
  for (const Name& name : gone) {
    let_go(table, resource, name, changed);
  }
}

void FleetHubObjects::list_begins(std::size_t resource) { ++parts_[resource].generation; }

void FleetHubObjects::list_ends(std::size_t resource) {
  parts_[resource].listed = true;
  switch (resource) {
    case kSliceExports:
      sweep(slices_, resource, [this](auto&&... all) { slice_changed(all...); });
      break;
    case kServiceExports:
      sweep(exports_, resource, [this](auto&&... all) { export_changed(all...); });
      break;
    case kServiceImports:
      sweep(imports_, resource, [this](const Name& name, auto&&, auto&& now) { import_changed(name, now); });
      break;
    case kMembers:
      sweep(members_, resource, [this](auto&&, auto&& before, auto&& now) { member_changed(before, now); });
      break;
    default:
      sweep(internal_members_, resource, [](auto&&...) {});
  }
}

void FleetHubObjects::object_is(std::size_t resource, const std::string& version, const YamlNode& object) {
  if (is_deleting(object)) {
    object_gone(resource, object);
    return;
  }
  switch (resource) {
    case kSliceExports:
      hold(slices_, resource, version, object, read_slice_export, [this](auto&&... all) { slice_changed(all...); });
      break;
    case kServiceExports:
      hold(exports_, resource, version, object, read_service_export, [this](auto&&... all) { export_changed(all...); });
      break;
    case kServiceImports:
      hold(imports_, resource, version, object, read_import_clusters,
           [this](const Name& name, auto&&, auto&& now) { import_changed(name, now); });
      break;
    case kMembers:
      hold(members_, resource, version, object, read_member,
           [this](auto&&, auto&& before, auto&& now) { member_changed(before, now); });
      break;
    default:
      hold(internal_members_, resource, version, object, read_member, [](auto&&...) {});
  }
}

void FleetHubObjects::object_gone(std::size_t resource, const YamlNode& object) {
  const Name name = name_of(object);
  switch (resource) {
    case kSliceExports:
      let_go(slices_, resource, name, [this](auto&&... all) { slice_changed(all...); });
      break;
    case kServiceExports:
      let_go(exports_, resource, name, [this](auto&&... all) { export_changed(all...); });
      break;
    case kServiceImports:
      let_go(imports_, resource, name, [this](const Name& of, auto&&, auto&& now) { import_changed(of, now); });
      break;
    case kMembers:
      let_go(members_, resource, name, [this](auto&&, auto&& before, auto&& now) { member_changed(before, now); });
      break;
    default:
      let_go(internal_members_, resource, name, [](auto&&...) {});
  }
}

void FleetHubObjects::unavailable(std::size_t resource) { parts_[resource].unavailable = true; }

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
    import.believed_at.reset();
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

void FleetHubObjects::believe_blanks(Clock::time_point now) {
  for (auto at = in_force_.begin(); at != in_force_.end();) {
    Import& import = at->second;
    if (import.blank && !import.believed_at) {
      import.believed_at = now + options_.blank_hold;
    }
    if (import.blank && now >= *import.believed_at) {
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
    if (import.believed_at && (!first || *import.believed_at < *first)) {
      first = import.believed_at;
    }
  }
  return first;
}

bool FleetHubObjects::ready() const {
  return std::all_of(parts_.begin(), parts_.begin() + kInternalMembers,
                     [](const Part& part) { return part.listed || part.unavailable; });
}

bool FleetHubObjects::is_member(const std::string& cluster) const {
  if (!parts_[kMembers].listed) {
    return true;  // nobody may tell: the other conditions remain
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
                                                                            const Service& known) const {
  std::map<std::string, Name> out;
  const auto import = in_force_.find(service);
  if (import == in_force_.end()) {
    return out;
  }
  for (const Name& name : known.exports) {
    const FleetServiceExport& candidate = *exports_.at(name).value;
    const bool counts = candidate.conflict == FleetServiceExport::Conflict::kFalse &&
                        candidate.cluster != options_.own_cluster &&
                        import->second.clusters.contains(candidate.cluster) && is_member(candidate.cluster);
    const auto [at, added] = counts ? out.try_emplace(candidate.cluster, name) : std::pair(out.end(), false);
    if (counts && !added && exports_.at(at->second).value->created < candidate.created) {
      at->second = name;
    }
  }
  return out;
}

// The objects of a service. Of several exports of one slice (a name was given anew) the newest version counts.
FleetHubObjects::Objects FleetHubObjects::wanted(const Name& name, const Service& known,
                                                 std::set<ObjectKey>& addresses) const {
  const auto valid = valid_exports(name, known);
  Objects out;
  for (const auto& [cluster, at] : valid) {
    const auto& held = exports_.at(at);
    ServiceObject service;
    service.global = true;
    service.ports = held.value->ports;
    service.created = held.value->created;
    out[{ObjectKind::kService, cluster, name.first, name.second}] = {
        std::make_shared<const ObjectValue>(std::move(service)), held.place};
  }
  std::map<ObjectKey, std::pair<const Held<FleetSliceExport>*, const Name*>> chosen;
  for (const Name& slice : known.slices) {
    const auto& held = slices_.at(slice);
    const FleetSliceExport& candidate = *held.value;
    if (!valid.contains(candidate.cluster)) {
      continue;
    }
    auto& best = chosen[{ObjectKind::kSlice, candidate.cluster, name.first, candidate.slice}];
    const auto age = [](const Held<FleetSliceExport>& of, const Name& its) {
      return std::tuple(of.value->created, of.value->generation, its);
    };
    if (best.first == nullptr || age(*best.first, *best.second) < age(held, slice)) {
      best = {&held, &slice};
    }
  }
  for (const auto& [key, best] : chosen) {
    for (const SliceEndpoint& endpoint : best.first->value->value.endpoints) {
      for (const IpAddress& address : endpoint.addresses) {
        addresses.insert({ObjectKind::kAddress, key.cluster, {}, address.to_string()});
      }
    }
    out[key] = {std::make_shared<const ObjectValue>(best.first->value->value), best.first->place};
  }
  return out;
}

void FleetHubObjects::settle_addresses(Service& service, std::set<ObjectKey> now, std::vector<ObjectDelta>& removed,
                                       std::vector<ObjectDelta>& changed) {
  for (const ObjectKey& key : now) {
    if (!service.addresses_used.contains(key) && addresses_[key]++ == 0) {
      AddressObject address;
      address.prefix = *Prefix::parse(key.name);
      changed.push_back({key, address, {options_.server, 0}});
    }
  }
  for (const ObjectKey& key : service.addresses_used) {
    if (!now.contains(key) && --addresses_[key] == 0) {
      addresses_.erase(key);
      removed.push_back({key, std::nullopt, {options_.server, 0}});
    }
  }
  service.addresses_used = std::move(now);
}

void FleetHubObjects::settle(const Name& name, std::vector<ObjectDelta>& removed, std::vector<ObjectDelta>& changed) {
  const auto at = services_.find(name);
  if (at == services_.end()) {
    return;
  }
  Service& service = at->second;
  std::set<ObjectKey> addresses;
  Objects now = wanted(name, service, addresses);
  settle_addresses(service, std::move(addresses), removed, changed);
  for (const auto& [key, before] : service.published) {
    if (!now.contains(key)) {
      removed.push_back({key, std::nullopt, {before.place, 0}});
    }
  }
  for (const auto& [key, published] : now) {
    const auto before = service.published.find(key);
    if (before == service.published.end() || *before->second.value != *published.value) {
      changed.push_back({key, *published.value, {published.place, 0}});
    }
  }
  service.published = std::move(now);
  if (service.published.empty() && service.slices.empty() && service.exports.empty()) {
    services_.erase(at);
  }
}

std::vector<ObjectDelta> FleetHubObjects::take_deltas(Clock::time_point now) {
  believe_blanks(now);
  if (!ready()) {
    return {};
  }
  std::vector<ObjectDelta> removed, changed;
  for (const Name& name : std::exchange(touched_, {})) {
    settle(name, removed, changed);
  }
  // An address that went from one service to another within one step is there all the time.
  std::set<ObjectKey> alive;
  for (const ObjectDelta& delta : changed) {
    alive.insert(delta.key);
  }
  removed.erase(std::remove_if(removed.begin(), removed.end(),
                               [&](const ObjectDelta& delta) { return alive.contains(delta.key); }),
                removed.end());
  removed.insert(removed.end(), std::make_move_iterator(changed.begin()), std::make_move_iterator(changed.end()));
  return removed;
}

template <typename T>
void FleetHubObjects::add_problems(const Table<T>& table, std::vector<SourceProblem>& out) const {
  for (const auto& [name, held] : table) {
    for (const YamlFault& fault : held.faults) {
      out.push_back(
          {{held.place, 0}, fault.what + (held.value ? "; the version read before stays in force" : ""), fault.remedy});
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
  for (const auto& [name, held] : exports_) {
    if (!held.value) {
      continue;
    }
    exporters.insert(held.value->cluster);
    if (held.value->conflict == FleetServiceExport::Conflict::kTrue) {
      out.push_back({{held.place, 0},
                     "Service " + text_of(held.value->service) + " of cluster " + held.value->cluster +
                         " is not used: its ports differ from those that the fleet agreed on",
                     "give the Service the same ports in every cluster, in the same order"});
    }
  }
  for (const std::string& cluster : exporters) {
    const FleetMember* found = member(cluster);
    if (found != nullptr && found->heartbeat != 0 &&
        seconds - found->heartbeat > found->period * static_cast<std::int64_t>(options_.heartbeats_missed)) {
      out.push_back({{options_.server, 0},
                     "the hub has heard nothing from the agent of cluster " + cluster + " for more than " +
                         std::to_string(options_.heartbeats_missed) + " of its heartbeats: its endpoints may be old",
                     "look at the member's agents and at its way to the hub"});
    }
  }
  return out;
}

}  // namespace isthmus
