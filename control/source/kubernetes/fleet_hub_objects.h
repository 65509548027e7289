// What the objects of a Fleet hub publish for every member cluster: its exported Services, their slices, and the
// addresses of their endpoints. Pure; see api_objects.h for owner, thread and failure.
//
// The hub has no lease and leaves stale exports behind, so an EndpointSliceExport counts only if: the
// InternalServiceExport of its Service and member exists and is free of conflict; the ServiceImport of the Service
// lists the member; the member has joined. An object that is being deleted counts as removed. The hub empties a
// ServiceImport while it recomputes it: an empty one is accepted only after `blank_retention`. A missing heartbeat is
// reported as a problem and withdraws nothing, as the hub may be the part that is cut off: data-plane probes decide.
//
// A hub publishes no labels: endpoint addresses have no identity (0), and the compiler assigns one per cluster.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/source/kubernetes/api_objects.h"
#include "control/source/kubernetes/fleet_hub_kinds.h"

namespace isthmus {

struct FleetHubObjectsOptions {
  std::string server;       // for provenance
  std::string own_cluster;  // its exports are skipped, as its own API server is watched; empty: none
  std::chrono::milliseconds blank_retention{10'000};
  unsigned heartbeats_missed = 5;  // missed periods after which a member is reported
};

class FleetHubObjects final : public ApiObjects {
 public:
  explicit FleetHubObjects(FleetHubObjectsOptions options);

  // The order of resources().
  enum Resource : std::size_t { kSliceExports, kServiceExports, kServiceImports, kMembers, kInternalMembers };

  [[nodiscard]] const std::vector<ApiResource>& resources() const override { return resources_; }
  void list_begins(std::size_t resource) override;
  void list_ends(std::size_t resource) override;
  void put(std::size_t resource, const std::string& version, const YamlNode& object) override;
  void removed(std::size_t resource, const YamlNode& object) override;
  void unavailable(std::size_t resource) override;
  // Returns nothing until each of the first four resources was listed or found unavailable.
  [[nodiscard]] std::vector<ObjectDelta> take_deltas(Clock::time_point now) override;
  [[nodiscard]] std::optional<Clock::time_point> due() const override;
  [[nodiscard]] std::vector<SourceProblem> problems(WallClock::time_point now) const override;
  [[nodiscard]] const Counts& counts(std::size_t resource) const override { return resource_states_[resource].counts; }

 private:
  using Value = std::shared_ptr<const ObjectValue>;
  using Name = FleetServiceName;  // (namespace, name) of a hub object or of a service

  // An object of the hub.
  template <typename T>
  struct Entry {
    std::optional<T> value;  // the last valid version
    unsigned generation = 0;
    YamlErrors errors;  // not empty: the current version is invalid
    std::string location;
  };
  template <typename T>
  using Table = std::map<Name, Entry<T>>;
  struct Import {
    std::set<std::string> clusters;  // in force
    bool blank = false;              // the current version is empty, `clusters` is not
    std::optional<Clock::time_point> blank_deadline;
  };
  struct ResourceState {
    unsigned generation = 0;
    bool listed = false, unavailable = false;
    Counts counts;
  };
  struct Published {
    Value value;
    std::string location;
  };
  using Objects = std::map<ObjectKey, Published>;
  // State of a service.
  struct Service {
    std::set<Name> slices, exports;      // keys of slices_ and exports_
    Objects published;                   // kService and kSlice
    std::set<ObjectKey> addresses_used;  // counted in address_users_
  };

  template <typename T, typename Read, typename Changed>
  void accept(Table<T>& table, std::size_t resource, const std::string& version, const YamlNode& object, Read read,
              Changed changed);
  template <typename T, typename Changed>
  void release(Table<T>& table, std::size_t resource, const Name& name, Changed changed);
  template <typename T, typename Changed>
  void remove_stale(Table<T>& table, std::size_t resource, Changed changed);
  template <typename T>
  void add_problems(const Table<T>& table, std::vector<SourceProblem>& out) const;

  void slice_changed(const Name& name, const std::optional<FleetSliceExport>& before,
                     const std::optional<FleetSliceExport>& now);
  void export_changed(const Name& name, const std::optional<FleetServiceExport>& before,
                      const std::optional<FleetServiceExport>& now);
  void import_changed(const Name& name, const std::optional<std::set<std::string>>& now);
  void member_changed(const std::optional<FleetMember>& before, const std::optional<FleetMember>& now);
  void apply_blank_imports(Clock::time_point now);

  [[nodiscard]] bool ready() const;
  [[nodiscard]] bool has_joined(const std::string& cluster) const;
  [[nodiscard]] const FleetMember* member(const std::string& cluster) const;
  // The accepted export of the service, per cluster.
  [[nodiscard]] std::map<std::string, Name> valid_exports(const Name& service, const Service& state) const;
  [[nodiscard]] Objects desired(const Name& name, const Service& state, std::set<ObjectKey>& addresses) const;
  void reconcile(const Name& name, std::vector<ObjectDelta>& removed, std::vector<ObjectDelta>& changed);
  void reconcile_addresses(Service& service, std::set<ObjectKey> now, std::vector<ObjectDelta>& removed,
                           std::vector<ObjectDelta>& changed);

  FleetHubObjectsOptions options_;
  std::vector<ApiResource> resources_;
  std::vector<ResourceState> resource_states_;
  Table<FleetSliceExport> slices_;
  Table<FleetServiceExport> exports_;
  Table<std::set<std::string>> imports_;
  Table<FleetMember> members_, internal_members_;
  std::map<Name, Import> in_force_;  // of imports_
  std::map<Name, Service> services_;
  std::map<ObjectKey, unsigned> address_users_;  // number of services that use it
  std::set<Name> touched_;                       // services
};

}  // namespace isthmus
