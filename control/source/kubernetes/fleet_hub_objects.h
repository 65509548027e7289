// What a Fleet hub's objects say of every member cluster: its exported Services, their slices, and the addresses of
// their endpoints. Pure; see api_objects.h for owner, thread and failure.
//
// The hub has no lease and leaves exports behind, so an EndpointSliceExport counts only while all of this stands: the
// InternalServiceExport of its Service and member, free of conflict; the member among the clusters of the Service's
// ServiceImport; the member joined. What is being deleted counts as gone. A ServiceImport that turns blank is what the
// hub does while it elects: it is believed only after `blank_hold`. A heartbeat that stops is told as a problem and
// withdraws nothing, as it may be the hub that is cut off: probes of the data plane decide.
//
// Endpoints of a hub have no labels: their addresses bear no identity (0), for which the compiler has one per cluster.
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
  std::string own_cluster;  // its exports are skipped, as its own API server is followed; empty: none
  std::chrono::milliseconds blank_hold{10'000};
  unsigned heartbeats_missed = 5;  // periods without one before a member is suspect
};

class FleetHubObjects final : public ApiObjects {
 public:
  explicit FleetHubObjects(FleetHubObjectsOptions options);

  // The order of resources().
  enum Resource : std::size_t { kSliceExports, kServiceExports, kServiceImports, kMembers, kInternalMembers };

  [[nodiscard]] const std::vector<ApiResource>& resources() const override { return resources_; }
  void list_begins(std::size_t resource) override;
  void list_ends(std::size_t resource) override;
  void object_is(std::size_t resource, const std::string& version, const YamlNode& object) override;
  void object_gone(std::size_t resource, const YamlNode& object) override;
  void unavailable(std::size_t resource) override;
  // Nothing until each of the first four resources was listed, or found unavailable.
  [[nodiscard]] std::vector<ObjectDelta> take_deltas(Clock::time_point now) override;
  [[nodiscard]] std::optional<Clock::time_point> due() const override;
  [[nodiscard]] std::vector<SourceProblem> problems(WallClock::time_point now) const override;
  [[nodiscard]] const Counts& counts(std::size_t resource) const override { return parts_[resource].counts; }

 private:
  using Value = std::shared_ptr<const ObjectValue>;
  using Name = FleetServiceName;  // of a hub object or of a service: namespace, name

  // One object of the hub. `value` is the last good version of what it says.
  template <typename T>
  struct Held {
    std::optional<T> value;
    unsigned generation = 0;
    YamlFaults faults;  // not empty: its present version is refused
    std::string place;
  };
  template <typename T>
  using Table = std::map<Name, Held<T>>;
  struct Import {
    std::set<std::string> clusters;  // in force
    bool blank = false;              // now, though `clusters` is not
    std::optional<Clock::time_point> believed_at;
  };
  struct Part {
    unsigned generation = 0;
    bool listed = false, unavailable = false;
    Counts counts;
  };
  struct Published {
    Value value;
    std::string place;
  };
  using Objects = std::map<ObjectKey, Published>;
  // What is known of one service, by where it stands.
  struct Service {
    std::set<Name> slices, exports;      // in the tables below
    Objects published;                   // kService and kSlice
    std::set<ObjectKey> addresses_used;  // counted in addresses_
  };

  template <typename T, typename Read, typename Changed>
  void hold(Table<T>& table, std::size_t resource, const std::string& version, const YamlNode& object, Read read,
            Changed changed);
  template <typename T, typename Changed>
  void let_go(Table<T>& table, std::size_t resource, const Name& name, Changed changed);
  template <typename T, typename Changed>
  void sweep(Table<T>& table, std::size_t resource, Changed changed);
  template <typename T>
  void add_problems(const Table<T>& table, std::vector<SourceProblem>& out) const;

  void slice_changed(const Name& name, const std::optional<FleetSliceExport>& before,
                     const std::optional<FleetSliceExport>& now);
  void export_changed(const Name& name, const std::optional<FleetServiceExport>& before,
                      const std::optional<FleetServiceExport>& now);
  void import_changed(const Name& name, const std::optional<std::set<std::string>>& now);
  void member_changed(const std::optional<FleetMember>& before, const std::optional<FleetMember>& now);
  void believe_blanks(Clock::time_point now);

  [[nodiscard]] bool ready() const;
  [[nodiscard]] bool is_member(const std::string& cluster) const;
  [[nodiscard]] const FleetMember* member(const std::string& cluster) const;
  // The service's export of every cluster whose exports count.
  [[nodiscard]] std::map<std::string, Name> valid_exports(const Name& service, const Service& known) const;
  [[nodiscard]] Objects wanted(const Name& name, const Service& known, std::set<ObjectKey>& addresses) const;
  void settle(const Name& name, std::vector<ObjectDelta>& removed, std::vector<ObjectDelta>& changed);
  void settle_addresses(Service& service, std::set<ObjectKey> now, std::vector<ObjectDelta>& removed,
                        std::vector<ObjectDelta>& changed);

  FleetHubObjectsOptions options_;
  std::vector<ApiResource> resources_;
  std::vector<Part> parts_;
  Table<FleetSliceExport> slices_;
  Table<FleetServiceExport> exports_;
  Table<std::set<std::string>> imports_;
  Table<FleetMember> members_, internal_members_;
  std::map<Name, Import> in_force_;  // of imports_
  std::map<Name, Service> services_;
  std::map<ObjectKey, unsigned> addresses_;  // how many services use it
  std::set<Name> touched_;                   // services
};

}  // namespace isthmus
