// Turns one cluster's keys and values into changes of the model.
//
// Owner: RemoteCluster. Thread: the etcd source's. Independent of connections: the caller passes on the contents of
// lists and watches. Changes are appended to the vector given at construction.
// - An invalid value is rejected: the former value stays in force, the key is logged once, and it is listed as a
// problem
//   until a valid value arrives or the key is deleted. If it is still invalid in the next list, its object is removed.
// - When a list lacks too many of the objects in force, they are retained for a while instead of removed at once: see
//   EtcdSourceOptions::hold_percent.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/source/etcd/fleet_registry.h"
#include "control/source/etcd/key_table.h"
#include "control/source/etcd/options.h"
#include "control/source/etcd/resources.h"
#include "control/source/etcd/service_import.h"

namespace isthmus {

class ClusterImport {
 public:
  using Clock = std::chrono::steady_clock;
  // Both references outlive this object.
  ClusterImport(const EtcdSourceOptions& options, EtcdValueContext context, FleetRegistry& registry,
                std::vector<ObjectDelta>& out);

  void list_begins(EtcdResource resource);
  void put(EtcdResource resource, std::string_view suffix, std::string_view value);
  void removed(EtcdResource resource, std::string_view suffix);
  // The same as removed(), but decided by settle_removals(): many that leave at once are retained, as those that a list
  // lacks.
  void leaves(EtcdResource resource, std::string_view suffix, Clock::time_point now);
  [[nodiscard]] bool removals_wait() const { return removals_wait_; }
  // Call it some 200 ms after leaves(), until removals_wait() is false.
  void settle_removals(Clock::time_point now);
  void list_ends(EtcdResource resource, Clock::time_point now);
  // Removes all data of the resource, which the cluster no longer publishes.
  void purge(EtcdResource resource);
  // Removes the data of all resources, dependent objects first.
  void purge_all();
  void use_slices(bool use) { services_.use_slices(use); }
  // Publishes the ClusterObject if its nodes have changed. The first time, once the nodes have been listed.
  void publish_cluster();
  [[nodiscard]] bool cluster_changed() const { return cluster_dirty_ && listed(EtcdResource::kNodes); }
  // Removes retained objects whose hold time is over, of those resources that are listed in the current session:
  // `fresh(resource)`.
  template <typename Fresh>
  void release_expired(Clock::time_point now, Fresh&& fresh) {
    for (const EtcdResource resource : kAllEtcdResources) {
      if (of(resource).retained > 0 && now >= of(resource).retained_until && fresh(resource)) {
        release_retained(resource);
      }
    }
  }

  [[nodiscard]] bool listed(EtcdResource resource) const { return of(resource).listed; }  // once, at least
  [[nodiscard]] const EtcdValueContext& context() const { return context_; }
  struct Counts {
    std::uint64_t objects = 0, events = 0, rejected = 0, retained = 0, key_memory = 0;
  };
  [[nodiscard]] Counts counts() const;
  // Keys whose current value is invalid, in short form ("ip/10.1.2.3"); ten at most.
  [[nodiscard]] std::vector<std::string> invalid_keys() const;
  // `layout`: for full keys; `hub`: the server; both for messages.
  [[nodiscard]] std::vector<SourceProblem> problems(EtcdLayout layout, const std::string& hub) const;

 private:
  struct Prefixed {
    KeyTable keys;
    // Numbers of keys with each flag of KeyTable.
    std::vector<std::string> leaving;  // keys that have left, and are in force until settle_removals()
    std::uint64_t in_force = 0, invalid = 0, retained = 0, in_force_before_list = 0;
    Clock::time_point retained_until;
    bool listed = false;
  };
  using InvalidKey = std::pair<EtcdResource, std::string>;

  [[nodiscard]] Prefixed& of(EtcdResource resource) { return prefixes_[static_cast<std::size_t>(resource)]; }
  [[nodiscard]] const Prefixed& of(EtcdResource resource) const {
    return prefixes_[static_cast<std::size_t>(resource)];
  }
  [[nodiscard]] Status apply(EtcdResource resource, std::string_view suffix, std::string_view value);
  [[nodiscard]] Status apply_node(std::string_view suffix, std::string_view value);
  [[nodiscard]] Status apply_service(std::string_view suffix, std::string_view value);
  void remove_object(EtcdResource resource, std::string_view suffix);
  void reject(EtcdResource resource, std::string_view suffix, const Error& error, bool again);
  void forget_invalid(EtcdResource resource, std::string_view suffix);
  void remove(EtcdResource resource, const std::vector<std::string>& suffixes);
  [[nodiscard]] bool accepts_loss(EtcdResource resource, std::size_t missing, std::uint64_t before) const;
  void retain(EtcdResource resource, const std::vector<std::string>& suffixes, std::uint64_t before,
              Clock::time_point now);
  void release_retained(EtcdResource resource);
  void set_flag(Prefixed& prefix, KeyTable::Ref ref, unsigned flags);
  [[nodiscard]] Provenance provenance(EtcdResource resource, std::string_view suffix) const;
  void emit(ObjectKind kind, std::string_view name, std::optional<ObjectValue> value, EtcdResource resource);
  [[nodiscard]] bool is_gateway_service(std::string_view suffix) const { return suffix == options_.gateway_service; }

  const EtcdSourceOptions& options_;
  EtcdValueContext context_;
  FleetRegistry& registry_;
  std::vector<ObjectDelta>& out_;
  std::array<Prefixed, kEtcdResources> prefixes_;
  ServiceImport services_;
  std::map<std::string, NodeObject> nodes_;
  std::map<InvalidKey, Error> invalid_;  // at most kMaxInvalidKept
  std::uint64_t events_ = 0, rejected_ = 0;
  bool cluster_dirty_ = true, published_ = false, removals_wait_ = false;
  Clock::time_point leaving_since_;  // the first of those that wait
  ClusterObject cluster_;
};

}  // namespace isthmus
