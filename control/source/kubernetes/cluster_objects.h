// The objects of one cluster's own API server, with the meaning of a file hub's manifests of that cluster; our own
// kinds belong to the fleet. Beyond manifests:
// - A Service with a ServiceExport of the same name (MCS; or Azure Fleet's, once the fleet accepted it) is global.
// - A Namespace without clustermesh.cilium.io/global gets the cluster's default.
// - Policies of the Network Policy API (AdminNetworkPolicy and its kin) are not read: each is named in a problem.
// - EndpointSlices imported by the Multi-Cluster Services API belong to their source cluster, together with a Service
//   there that has the ports of the ServiceImport.
// Pure; see api_objects.h for owner, thread and failure.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/source/kubernetes/api_objects.h"
#include "control/source/manifest/manifest.h"

namespace isthmus {

struct ClusterObjectsOptions {
  std::string cluster;
  std::string server;                    // for provenance
  bool default_global_namespace = true;  // clustermesh-default-global-namespace of the cluster's Cilium
  bool imported_slices = true;           // false: ignored, as another hub publishes the other clusters
  bool agent_config = true;              // whether to ask for the agents' configuration
};

class ClusterObjects final : public ApiObjects {
 public:
  explicit ClusterObjects(ClusterObjectsOptions options);

  [[nodiscard]] const std::vector<ApiResource>& resources() const override { return resources_; }
  void list_begins(std::size_t resource) override;
  void list_ends(std::size_t resource) override;
  void put(std::size_t resource, const std::string& version, const YamlNode& object) override;
  void removed(std::size_t resource, const YamlNode& object) override;
  void unavailable(std::size_t) override {}
  [[nodiscard]] std::vector<ObjectDelta> take_deltas(Clock::time_point now) override;
  [[nodiscard]] std::vector<SourceProblem> problems(WallClock::time_point now) const override;
  [[nodiscard]] const Counts& counts(std::size_t resource) const override { return resource_states_[resource].counts; }
  [[nodiscard]] ObjectReports* reports() override { return &reports_; }

 private:
  using Value = std::shared_ptr<const ObjectValue>;
  struct Entry {
    Value value;    // the last valid version; null: there was none, or the object is irrelevant
    Value refused;  // a policy without a valid version: what closes its subjects (ManifestDocument::refused)
    YamlErrors errors;
    bool rejected = false;
    unsigned generation = 0;
    std::string location;
  };
  struct Kind {
    ObjectKind kind = ObjectKind::kService;
    bool fleet = false, namespaced = false, cilium_node = false, service_export = false, fleet_export = false;
    bool unread = false;  // policies that this gateway does not enforce: only named
  };
  struct ResourceState {
    unsigned generation = 0;
    Counts counts;
  };
  using Entries = std::map<ManifestKey, Entry>;
  using ServiceKey = std::pair<std::string, std::string>;  // namespace, name

  void add_unread();
  void add(Kind kind, std::string plural, std::string name, std::vector<std::string> versions, bool optional);
  [[nodiscard]] ManifestKey key_of(const Kind& kind, const YamlNode& object) const;
  void forget_elsewhere(std::size_t resource, const ManifestKey& key);
  void put_unread(std::size_t resource, const std::string& version, const YamlNode& object);
  void put_export(std::size_t resource, const YamlNode& object);
  void remove_export(std::size_t resource, const ServiceKey& name);
  [[nodiscard]] bool is_exported(const ServiceKey& name) const;
  void accept(std::size_t resource, const ManifestKey& key, Entry& entry, ManifestDocument&& document);
  Entries::iterator erase(std::size_t resource, Entries::iterator at);
  void touch(const ObjectKey& key);
  [[nodiscard]] Value value_of(const ObjectKey& key, bool cilium_node) const;
  [[nodiscard]] Value effective(const ObjectKey& key) const;
  // Adds the slice to the imported slices of its Service, or removes it.
  [[nodiscard]] static std::string consequence(const Entry& entry);
  void record_import(const ManifestKey& key, const Value& value, bool present);
  [[nodiscard]] bool is_ignored(const Kind& kind, const ManifestKey& key) const;
  [[nodiscard]] Value imported_service(const ObjectKey& key) const;
  [[nodiscard]] Value effective_service(const ObjectKey& key, const Value& service) const;
  [[nodiscard]] std::string place_of(const ObjectKey& key) const;

  ClusterObjectsOptions options_;
  std::vector<ApiResource> resources_;
  std::vector<Kind> kinds_;  // per resource
  std::vector<ResourceState> resource_states_;
  Entries entries_;
  struct Unread {
    std::string location;
    unsigned generation = 0;
  };
  std::map<std::pair<std::size_t, std::string>, Unread> unread_;    // by resource and name
  std::map<std::pair<std::size_t, ServiceKey>, unsigned> exports_;  // (resource, Service) → generation
  std::map<ObjectKey, std::set<ObjectKey>> imports_;  // Service of another cluster → its imported slices
  std::map<ServiceKey, std::string> slice_clusters_;  // slice → the cluster that it belongs to
  std::set<ManifestKey> with_errors_;
  std::set<ObjectKey> touched_;
  std::map<ObjectKey, Value> published_;
  ObjectReports reports_;
};

}  // namespace isthmus
