// One cluster's keys and values as changes of the model: what is new, what is gone, what is refused, what is held.
//
// Owner: a remote cluster of EtcdSource. Thread: the etcd source's. Knows nothing of connections: it is told what a
// list or a watch says. Changes are appended to the vector it was given.
// - A value that is refused leaves the former one in force, is logged once with its key, and stays listed until a
//   good one comes or the key goes. What is still refused in the next list goes with its object.
// - A list that lacks too much of what was there is not believed at once: see EtcdSourceOptions::hold_percent.
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
  void put(EtcdResource resource, std::string_view tail, std::string_view value);
  void gone(EtcdResource resource, std::string_view tail);
  void list_ends(EtcdResource resource, Clock::time_point now);
  // Forgets all of it: it does not apply to this cluster any more.
  void drain(EtcdResource resource);
  // Everything, in an order in which it may be taken away.
  void drain_all();
  void use_slices(bool use) { services_.use_slices(use); }
  // Publishes the Cluster if nodes have changed since; the first time, when they have been listed.
  void publish_cluster();
  [[nodiscard]] bool cluster_changed() const { return cluster_dirty_ && listed(EtcdResource::kNodes); }
  // Lets go of what was held for long enough, of prefixes whose list is fresh. `fresh(resource)` tells.
  template <typename Fresh>
  void release_held(Clock::time_point now, Fresh&& fresh) {
    for (const EtcdResource resource : kAllEtcdResources) {
      if (of(resource).held > 0 && now >= of(resource).held_until && fresh(resource)) {
        drop_held(resource);
      }
    }
  }

  [[nodiscard]] bool listed(EtcdResource resource) const { return of(resource).listed; }  // once, at least
  [[nodiscard]] const EtcdValueContext& context() const { return context_; }
  struct Counts {
    std::uint64_t objects = 0, events = 0, rejected = 0, held = 0, key_memory = 0;
  };
  [[nodiscard]] Counts counts() const;
  // Keys whose value is refused, by their short text ("ip/10.1.2.3"), ten at most.
  [[nodiscard]] std::vector<std::string> bad() const;
  // `hub`: the server, for messages; `prefix(resource)` gives full keys.
  [[nodiscard]] std::vector<SourceProblem> problems(EtcdLayout layout, const std::string& hub) const;

 private:
  struct Prefixed {
    KeyTable keys;
    std::uint64_t good = 0, bad = 0, held = 0, good_before_list = 0;
    Clock::time_point held_until;
    bool listed = false;
  };
  using BadKey = std::pair<EtcdResource, std::string>;

  [[nodiscard]] Prefixed& of(EtcdResource resource) { return prefixes_[static_cast<std::size_t>(resource)]; }
  [[nodiscard]] const Prefixed& of(EtcdResource resource) const {
    return prefixes_[static_cast<std::size_t>(resource)];
  }
  [[nodiscard]] Status apply(EtcdResource resource, std::string_view tail, std::string_view value);
  [[nodiscard]] Status apply_node(std::string_view tail, std::string_view value);
  [[nodiscard]] Status apply_service(std::string_view tail, std::string_view value);
  void remove_object(EtcdResource resource, std::string_view tail);
  void refuse(EtcdResource resource, std::string_view tail, const Error& error, bool again);
  void forget_bad(EtcdResource resource, std::string_view tail);
  void take_away(EtcdResource resource, const std::vector<std::string>& tails);
  [[nodiscard]] bool believe(const Prefixed& prefix, std::size_t missing) const;
  void hold(EtcdResource resource, const std::vector<std::string>& tails, Clock::time_point now);
  void drop_held(EtcdResource resource);
  void set_flag(Prefixed& prefix, KeyTable::Ref ref, unsigned flags);
  [[nodiscard]] Provenance provenance(EtcdResource resource, std::string_view tail) const;
  void emit(ObjectKind kind, std::string_view name, std::optional<ObjectValue> value, EtcdResource resource);
  [[nodiscard]] bool is_gateway_service(std::string_view tail) const { return tail == options_.gateway_service; }

  const EtcdSourceOptions& options_;
  EtcdValueContext context_;
  FleetRegistry& registry_;
  std::vector<ObjectDelta>& out_;
  std::array<Prefixed, kEtcdResources> prefixes_;
  ServiceImport services_;
  std::map<std::string, NodeObject> nodes_;
  std::map<BadKey, Error> bad_;  // the first hundred
  std::uint64_t events_ = 0, rejected_ = 0;
  bool cluster_dirty_ = true, published_ = false;
  ClusterObject cluster_;
};

}  // namespace isthmus
