// The objects of one cluster's own API server, as a hub's folder of manifests for that cluster would have them; our own
// kinds are the fleet's. On top of the manifests: a Service with a ServiceExport of its name is global (MCS, or Fleet's
// once the fleet accepted it), and a Namespace that says nothing about clustermesh.cilium.io/global says what the
// cluster's default is. EndpointSlices that the Multi-Cluster Services API imported are the source cluster's, with a
// Service for them there whose ports are the ServiceImport's.
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
  bool imported_slices = true;           // false: another hub tells of the other clusters, and they are passed over
};

class ClusterObjects final : public ApiObjects {
 public:
  explicit ClusterObjects(ClusterObjectsOptions options);

  [[nodiscard]] const std::vector<ApiResource>& resources() const override { return resources_; }
  void list_begins(std::size_t resource) override;
  void list_ends(std::size_t resource) override;
  void object_is(std::size_t resource, const std::string& version, const YamlNode& object) override;
  void object_gone(std::size_t resource, const YamlNode& object) override;
  void unavailable(std::size_t) override {}
  [[nodiscard]] std::vector<ObjectDelta> take_deltas(Clock::time_point now) override;
  [[nodiscard]] std::vector<SourceProblem> problems(WallClock::time_point now) const override;
  [[nodiscard]] const Counts& counts(std::size_t resource) const override { return parts_[resource].counts; }

 private:
  using Value = std::shared_ptr<const ObjectValue>;
  struct Entry {
    Value value;  // the last good version; null before there was one, and for objects that say nothing for us
    YamlFaults faults;
    bool refused = false;
    unsigned generation = 0;
    std::string place;
  };
  struct Kind {
    ObjectKind kind = ObjectKind::kService;
    bool fleet = false, namespaced = false, cilium_node = false, service_export = false, fleet_export = false;
  };
  struct Part {
    unsigned generation = 0;
    Counts counts;
  };
  using Entries = std::map<ManifestKey, Entry>;
  using ServiceKey = std::pair<std::string, std::string>;  // namespace, name

  void add(Kind kind, std::string plural, std::string name, std::vector<std::string> versions, bool optional);
  [[nodiscard]] ManifestKey key_of(const Kind& kind, const YamlNode& object) const;
  void export_is(std::size_t resource, const YamlNode& object);
  void export_gone(std::size_t resource, const ServiceKey& name);
  [[nodiscard]] bool is_exported(const ServiceKey& name) const;
  void accept(std::size_t resource, const ManifestKey& key, Entry& entry, ManifestDocument&& document);
  Entries::iterator erase(std::size_t resource, Entries::iterator at);
  void touch(const ObjectKey& key);
  [[nodiscard]] Value value_of(const ObjectKey& key, bool cilium_node) const;
  [[nodiscard]] Value effective(const ObjectKey& key) const;
  // The slice comes to the imported ones of its Service, or leaves them.
  void note_import(const ManifestKey& key, const Value& value, bool there);
  [[nodiscard]] bool passed_over(const Kind& kind, const ManifestKey& key) const;
  [[nodiscard]] Value imported_service(const ObjectKey& key) const;
  [[nodiscard]] Value effective_service(const ObjectKey& key, const Value& service) const;
  [[nodiscard]] std::string place_of(const ObjectKey& key) const;

  ClusterObjectsOptions options_;
  std::vector<ApiResource> resources_;
  std::vector<Kind> kinds_;  // of the resources, as parts_
  std::vector<Part> parts_;
  Entries entries_;
  std::map<std::pair<std::size_t, ServiceKey>, unsigned> exports_;  // of a resource → generation
  std::map<ObjectKey, std::set<ObjectKey>> imports_;  // Services of other clusters → their imported slices
  std::set<ManifestKey> faulty_;
  std::set<ObjectKey> touched_;
  std::map<ObjectKey, Value> published_;
};

}  // namespace isthmus
