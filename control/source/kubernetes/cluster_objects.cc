#include "control/source/kubernetes/cluster_objects.h"

#include <algorithm>

#include "config/yaml/read.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

constexpr auto kGlobalNamespace = "clustermesh.cilium.io/global";

std::string qualified_name(const ObjectKey& key) { return key.ns.empty() ? key.name : key.ns + "/" + key.name; }

bool same_value(const std::shared_ptr<const ObjectValue>& a, const std::shared_ptr<const ObjectValue>& b) {
  return a == b || (a && b && *a == *b);
}

// Our own kinds, and policies.
bool is_reported(ObjectKind kind) {
  return kind == ObjectKind::kCluster || kind == ObjectKind::kGateway || kind == ObjectKind::kProfile ||
         kind == ObjectKind::kNetworkPolicy || kind == ObjectKind::kCiliumPolicy ||
         kind == ObjectKind::kClusterwidePolicy;
}

// Whether a ServiceExport of Azure Fleet is valid and free of conflict according to its conditions. An export of weight
// 0 is withdrawn although its conditions remain.
bool is_fleet_export_accepted(const YamlNode& object) {
  YamlErrors ignored;
  const YamlMap root(&object, "", object.line, ignored);
  bool valid = false, agreed = false;
  for (const YamlNode& node : root.map("status").list("conditions")) {
    const YamlMap item(&node, "", node.line, ignored);
    valid = valid || (item.text("type") == "Valid" && item.text("status") == "True");
    agreed = agreed || (item.text("type") == "Conflict" && item.text("status") == "False");
  }
  return valid && agreed && root.map("metadata").map("annotations").text("networking.fleet.azure.com/weight") != "0";
}

}  // namespace

ClusterObjects::ClusterObjects(ClusterObjectsOptions options) : options_(std::move(options)) {
  const auto row = [](ObjectKind kind, bool namespaced) {
    Kind row_kind;
    row_kind.kind = kind;
    row_kind.namespaced = namespaced;
    return row_kind;
  };
  const auto fleet = [](ObjectKind kind) {
    Kind row_kind;
    row_kind.kind = kind;
    row_kind.fleet = true;
    return row_kind;
  };
  add(row(ObjectKind::kNamespace, false), "namespaces", "Namespace", {"v1"}, false);
  add(row(ObjectKind::kService, true), "services", "Service", {"v1"}, false);
  add(row(ObjectKind::kSlice, true), "endpointslices", "EndpointSlice", {"discovery.k8s.io/v1"}, false);
  add(row(ObjectKind::kPod, true), "pods", "Pod", {"v1"}, false);
  add(row(ObjectKind::kNode, false), "nodes", "Node", {"v1"}, false);
  add(row(ObjectKind::kNetworkPolicy, true), "networkpolicies", "NetworkPolicy", {"networking.k8s.io/v1"}, false);
  add(row(ObjectKind::kCiliumEndpoint, true), "ciliumendpoints", "CiliumEndpoint", {"cilium.io/v2"}, true);
  add(row(ObjectKind::kIdentity, false), "ciliumidentities", "CiliumIdentity", {"cilium.io/v2"}, true);
  Kind cilium_node = row(ObjectKind::kNode, false);
  cilium_node.cilium_node = true;
  add(cilium_node, "ciliumnodes", "CiliumNode", {"cilium.io/v2"}, true);
  add(row(ObjectKind::kCiliumPolicy, true), "ciliumnetworkpolicies", "CiliumNetworkPolicy", {"cilium.io/v2"}, true);
  add(row(ObjectKind::kClusterwidePolicy, false), "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy",
      {"cilium.io/v2"}, true);
  add(row(ObjectKind::kCidrGroup, false), "ciliumcidrgroups", "CiliumCIDRGroup", {"cilium.io/v2", "cilium.io/v2alpha1"},
      true);
  if (options_.agent_config) {
    add(row(ObjectKind::kAgentConfig, true), "configmaps", "ConfigMap", {"v1"}, true);
    resources_.back().may_be_forbidden = true;
    resources_.back().ns = kAgentConfigNamespace;
    resources_.back().name = kAgentConfigName;
  }
  // What policies are made of: themselves, and what says whom they select.
  for (ApiResource& resource : resources_) {
    resource.policy = resource.kind != "Service" && resource.kind != "EndpointSlice" && resource.kind != "Node" &&
                      resource.kind != "CiliumNode";
  }
  const std::vector<std::string> mcs{"multicluster.x-k8s.io/v1beta1", "multicluster.x-k8s.io/v1alpha1"};
  add(row(ObjectKind::kServiceImport, true), "serviceimports", "ServiceImport", mcs, true);
  Kind service_export = row(ObjectKind::kService, true);
  service_export.service_export = true;
  add(service_export, "serviceexports", "ServiceExport", mcs, true);
  Kind fleet_export = service_export;
  fleet_export.fleet_export = true;
  add(fleet_export, "serviceexports", "ServiceExport",
      {"networking.fleet.azure.com/v1beta1", "networking.fleet.azure.com/v1alpha1"}, true);
  resources_.back().label = "serviceexports.networking.fleet.azure.com";
  add(fleet(ObjectKind::kCluster), "clusters", "Cluster", {"isthmus.io/v1alpha1"}, true);
  add(fleet(ObjectKind::kGateway), "gateways", "Gateway", {"isthmus.io/v1alpha1"}, true);
  add(fleet(ObjectKind::kProfile), "crossclusternetworkprofiles", "CrossClusterNetworkProfile", {"isthmus.io/v1alpha1"},
      true);
  add_unread();
}

void ClusterObjects::add_unread() {
  constexpr auto kGroup = "policy.networking.k8s.io/";
  Kind unread;
  unread.unread = true;
  add(unread, "adminnetworkpolicies", "AdminNetworkPolicy", {std::string(kGroup) + "v1alpha1"}, true);
  add(unread, "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy", {std::string(kGroup) + "v1alpha1"}, true);
  add(unread, "clusternetworkpolicies", "ClusterNetworkPolicy", {std::string(kGroup) + "v1alpha2"}, true);
  for (ApiResource& resource : resources_) {
    resource.may_be_forbidden = resource.may_be_forbidden || resource.versions.front().starts_with(kGroup);
  }
}

void ClusterObjects::add(Kind kind, std::string plural, std::string name, std::vector<std::string> versions,
                         bool optional) {
  resources_.push_back({std::move(plural), std::move(name), std::move(versions), optional});
  kinds_.push_back(kind);
  resource_states_.emplace_back();
}

ManifestKey ClusterObjects::key_of(const Kind& kind, const YamlNode& object) const {
  ManifestKey key;
  key.object.kind = kind.kind;
  key.object.cluster = kind.fleet ? std::string() : options_.cluster;
  if (kind.kind == ObjectKind::kSlice) {
    YamlErrors ignored;
    const std::string source =
        YamlMap(&object, "", object.line, ignored).map("metadata").map("labels").text(kSourceClusterLabel);
    key.object.cluster = source.empty() ? key.object.cluster : source;
  }
  key.object.ns = kind.namespaced ? metadata_text(object, "namespace") : std::string();
  key.object.name = metadata_text(object, "name");
  key.cilium_node = kind.cilium_node;
  return key;
}

void ClusterObjects::list_begins(std::size_t resource) { ++resource_states_[resource].generation; }

void ClusterObjects::list_ends(std::size_t resource) {
  const Kind& kind = kinds_[resource];
  const unsigned generation = resource_states_[resource].generation;
  if (kind.unread) {
    const std::size_t gone = std::erase_if(unread_, [&](const auto& each) {
      return each.first.first == resource && each.second.generation != generation;
    });
    resource_states_[resource].counts.objects -= gone;
    return;
  }
  if (kind.service_export) {
    for (auto at = exports_.begin(); at != exports_.end();) {
      const auto [key, seen] = *at++;
      if (key.first == resource && seen != generation) {
        remove_export(resource, key.second);
      }
    }
    return;
  }
  for (auto at = entries_.lower_bound({{kind.kind, {}, {}, {}}, false});
       at != entries_.end() && at->first.object.kind == kind.kind;) {
    const bool stale = at->first.cilium_node == kind.cilium_node && at->second.generation != generation;
    at = stale ? erase(resource, at) : std::next(at);
  }
}

void ClusterObjects::put(std::size_t resource, const std::string& version, const YamlNode& object) {
  const Kind& kind = kinds_[resource];
  if (kind.unread) {
    put_unread(resource, version, object);
    return;
  }
  if (kind.service_export) {
    put_export(resource, object);
    return;
  }
  const ManifestKey key = key_of(kind, object);
  if (key.object.name.empty()) {
    ++resource_states_[resource].counts.rejected;
    log(resources_[resource].plural + " of " + options_.server + ": an object without a name is ignored");
    return;
  }
  forget_elsewhere(resource, key);
  if (is_ignored(kind, key)) {
    return;
  }
  if (kind.kind == ObjectKind::kSlice) {
    slice_clusters_[{key.object.ns, key.object.name}] = key.object.cluster;
  }
  ManifestDocument document;
  read_manifest_tree(object, kind.fleet ? std::string() : options_.cluster, version, resources_[resource].kind,
                     document);
  Entry& entry = entries_[key];
  entry.generation = resource_states_[resource].generation;
  entry.location = object_url(options_.server, resources_[resource], version, object);
  if (is_reported(kind.kind)) {
    const ApiObjectName name{entry.location, entry.location.substr(options_.server.size()), version,
                             resources_[resource].kind, resources_[resource].plural};
    reports_.put(name, key.object, object);
  }
  accept(resource, key, entry, std::move(document));
}

// A slice belongs to the cluster that its label names: another label moves it.
void ClusterObjects::forget_elsewhere(std::size_t resource, const ManifestKey& key) {
  if (key.object.kind != ObjectKind::kSlice) {
    return;
  }
  const auto known = slice_clusters_.find({key.object.ns, key.object.name});
  if (known == slice_clusters_.end() || known->second == key.object.cluster) {
    return;
  }
  ManifestKey before = key;
  before.object.cluster = known->second;
  slice_clusters_.erase(known);
  if (const auto at = entries_.find(before); at != entries_.end()) {
    erase(resource, at);
  }
}

void ClusterObjects::accept(std::size_t resource, const ManifestKey& key, Entry& entry, ManifestDocument&& document) {
  Counts& counts = resource_states_[resource].counts;
  const std::string name = qualified_name(key.object);
  const bool complete = document.objects.size() == 1 && document.objects.front().key == key;
  const bool irrelevant = document.objects.empty() && document.invalid.empty() && !document.unreadable;
  const bool had_value = entry.value != nullptr;
  const bool rejected = !complete && !irrelevant;
  if (rejected && document.errors.empty()) {
    document.errors.push_back({1, "the object has another kind or name than requested",
                               "check the API server, and any proxy in front of it"});
  }
  entry.refused = nullptr;
  if (rejected) {
    const bool closes = document.refused.size() == 1 && document.refused.front().key == key && !had_value;
    entry.refused = closes ? document.refused.front().value : nullptr;
    ++counts.rejected;
    counts.invalid.insert(name);
    const std::string what = document.errors.front().what;
    if (!entry.rejected || entry.errors.empty() || entry.errors.front().what != what) {
      log(describe(key) + " is invalid: " + what + consequence(entry));
    }
  } else {
    counts.invalid.erase(name);
    record_import(key, entry.value, false);
    entry.value = complete ? document.objects.front().value : nullptr;
    record_import(key, entry.value, true);
  }
  entry.rejected = rejected;
  entry.errors = std::move(document.errors);
  counts.objects += entry.value && !had_value ? 1 : 0;
  counts.objects -= !entry.value && had_value ? 1 : 0;
  if (entry.errors.empty()) {
    with_errors_.erase(key);
  } else {
    with_errors_.insert(key);
  }
  touch(key.object);
}

// The note on an object's errors: what applies all the same.
std::string ClusterObjects::consequence(const Entry& entry) {
  return std::string(entry.value ? kPreviousApplies : entry.refused ? kPolicyIsClosed : std::string_view());
}

ClusterObjects::Entries::iterator ClusterObjects::erase(std::size_t resource, Entries::iterator at) {
  Counts& counts = resource_states_[resource].counts;
  counts.objects -= at->second.value ? 1 : 0;
  counts.invalid.erase(qualified_name(at->first.object));
  with_errors_.erase(at->first);
  reports_.erase(at->second.location);
  record_import(at->first, at->second.value, false);
  touch(at->first.object);
  if (at->first.object.kind == ObjectKind::kSlice) {
    slice_clusters_.erase({at->first.object.ns, at->first.object.name});
  }
  return entries_.erase(at);
}

void ClusterObjects::removed(std::size_t resource, const YamlNode& object) {
  const Kind& kind = kinds_[resource];
  if (kind.unread) {
    resource_states_[resource].counts.objects -= unread_.erase({resource, metadata_text(object, "name")});
    return;
  }
  const ManifestKey key = key_of(kind, object);
  if (kind.service_export) {
    remove_export(resource, {key.object.ns, key.object.name});
    return;
  }
  forget_elsewhere(resource, key);
  if (const auto at = entries_.find(key); at != entries_.end()) {
    erase(resource, at);
  }
}

void ClusterObjects::put_unread(std::size_t resource, const std::string& version, const YamlNode& object) {
  const auto [at, added] = unread_.try_emplace({resource, metadata_text(object, "name")});
  at->second = {object_url(options_.server, resources_[resource], version, object),
                resource_states_[resource].generation};
  if (added) {
    ++resource_states_[resource].counts.objects;
    log(resources_[resource].kind + " " + at->first.second + " is not read: this policy is not enforced");
  }
}

void ClusterObjects::put_export(std::size_t resource, const YamlNode& object) {
  const ServiceKey name{metadata_text(object, "namespace"), metadata_text(object, "name")};
  const bool accepted = metadata_text(object, "deletionTimestamp").empty() &&
                        (!kinds_[resource].fleet_export || is_fleet_export_accepted(object));
  if (!accepted) {
    remove_export(resource, name);
    return;
  }
  const auto [at, added] = exports_.try_emplace({resource, name});
  at->second = resource_states_[resource].generation;
  if (added) {
    ++resource_states_[resource].counts.objects;
    touched_.insert({ObjectKind::kService, options_.cluster, name.first, name.second});
  }
}

void ClusterObjects::remove_export(std::size_t resource, const ServiceKey& name) {
  if (exports_.erase({resource, name}) > 0) {
    --resource_states_[resource].counts.objects;
    touched_.insert({ObjectKind::kService, options_.cluster, name.first, name.second});
  }
}

bool ClusterObjects::is_exported(const ServiceKey& name) const {
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i].service_export && exports_.contains({i, name})) {
      return true;
    }
  }
  return false;
}

// Where Namespaces are not global by default, the Services of a Namespace that is not known yet stay local.
void ClusterObjects::touch(const ObjectKey& key) {
  touched_.insert(key);
  if (key.kind == ObjectKind::kServiceImport) {
    for (const auto& [service, slices] : imports_) {
      if (service.ns == key.ns && service.name == key.name) {
        touched_.insert(service);
      }
    }
  }
  if (key.kind != ObjectKind::kNamespace || options_.default_global_namespace) {
    return;
  }
  const ManifestKey first{{ObjectKind::kService, options_.cluster, key.name, {}}, false};
  for (auto at = entries_.lower_bound(first); at != entries_.end(); ++at) {
    const ObjectKey& service = at->first.object;
    if (service.kind != first.object.kind || service.ns != key.name) {
      break;
    }
    touched_.insert(service);
  }
}

bool ClusterObjects::is_ignored(const Kind& kind, const ManifestKey& key) const {
  return kind.kind == ObjectKind::kSlice && key.object.cluster != options_.cluster && !options_.imported_slices;
}

void ClusterObjects::record_import(const ManifestKey& key, const Value& value, bool present) {
  if (value == nullptr || key.object.kind != ObjectKind::kSlice || key.object.cluster == options_.cluster) {
    return;
  }
  const ObjectKey service{ObjectKind::kService, key.object.cluster, key.object.ns,
                          std::get<SliceObject>(*value).service};
  auto& slices = imports_[service];
  if (present) {
    slices.insert(key.object);
  } else {
    slices.erase(key.object);
  }
  if (slices.empty()) {
    imports_.erase(service);
  }
  touched_.insert(service);
}

ClusterObjects::Value ClusterObjects::imported_service(const ObjectKey& key) const {
  if (!imports_.contains(key)) {
    return nullptr;
  }
  ServiceObject service;
  service.global = true;
  const Value import = value_of({ObjectKind::kServiceImport, options_.cluster, key.ns, key.name}, false);
  if (import != nullptr) {
    service.ports = std::get<ServiceImportObject>(*import).ports;
    service.created = std::get<ServiceImportObject>(*import).created;
  }
  return std::make_shared<const ObjectValue>(std::move(service));
}

ClusterObjects::Value ClusterObjects::value_of(const ObjectKey& key, bool cilium_node) const {
  const auto at = entries_.find({key, cilium_node});
  return at == entries_.end() ? Value() : at->second.value ? at->second.value : at->second.refused;
}

ClusterObjects::Value ClusterObjects::effective_service(const ObjectKey& key, const Value& service) const {
  const auto& original = std::get<ServiceObject>(*service);
  const bool namespace_known = options_.default_global_namespace ||
                               value_of({ObjectKind::kNamespace, options_.cluster, {}, key.ns}, false) != nullptr;
  const bool global = (original.global || is_exported({key.ns, key.name})) && namespace_known;
  if (global == original.global) {
    return service;
  }
  ServiceObject changed = original;
  changed.global = global;
  return std::make_shared<const ObjectValue>(std::move(changed));
}

ClusterObjects::Value ClusterObjects::effective(const ObjectKey& key) const {
  const Value value = value_of(key, false);
  if (key.kind == ObjectKind::kNode) {
    return join_nodes(value, value_of(key, true));
  }
  if (key.kind == ObjectKind::kService) {
    return value ? effective_service(key, value) : imported_service(key);
  }
  if (value && key.kind == ObjectKind::kNamespace && !options_.default_global_namespace) {
    NamespaceObject completed = std::get<NamespaceObject>(*value);
    completed.annotations.try_emplace(kGlobalNamespace, "false");
    return std::make_shared<const ObjectValue>(std::move(completed));
  }
  return value;
}

std::string ClusterObjects::place_of(const ObjectKey& key) const {
  for (const bool cilium_node : {false, true}) {
    const auto at = entries_.find({key, cilium_node});
    if (at != entries_.end()) {
      return at->second.location;
    }
  }
  return options_.server;
}

std::vector<ObjectDelta> ClusterObjects::take_deltas(Clock::time_point) {
  std::vector<ObjectDelta> removed, changed;
  for (const ObjectKey& key : touched_) {
    Value now = effective(key);
    const auto before = published_.find(key);
    if (before == published_.end() ? now == nullptr : same_value(before->second, now)) {
      continue;
    }
    if (now) {
      changed.push_back({key, *now, {place_of(key), 0}});
      published_[key] = std::move(now);
    } else {
      removed.push_back({key, std::nullopt, {place_of(key), 0}});
      published_.erase(before);
    }
  }
  touched_.clear();
  // A kind is numbered above the kinds it depends on, and keys sort by kind first.
  std::reverse(removed.begin(), removed.end());
  removed.insert(removed.end(), std::make_move_iterator(changed.begin()), std::make_move_iterator(changed.end()));
  return removed;
}

std::vector<SourceProblem> ClusterObjects::problems(WallClock::time_point) const {
  std::vector<SourceProblem> out;
  for (const ManifestKey& key : with_errors_) {
    const Entry& entry = entries_.at(key);
    for (const YamlError& error : entry.errors) {
      const bool is_rejected = entry.rejected && !error.warning;
      out.push_back({{entry.location, 0},
                     error.what + (is_rejected ? consequence(entry) : ""),
                     error.fix,
                     is_rejected ? std::optional(key.object) : std::nullopt});
    }
  }
  for (const auto& [key, unread] : unread_) {
    out.push_back({{unread.location, 0},
                   resources_[key.first].kind + " " + key.second + " is not read: this policy is not enforced",
                   "write it as NetworkPolicy, CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy",
                   std::nullopt});
  }
  return out;
}

}  // namespace isthmus
