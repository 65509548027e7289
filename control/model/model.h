// The desired state of all hubs merged: the last known version of each object, by key, with its source location.
//
// Owner: control/daemon. Thread: control. An object is removed only when the source that published it says so; an
// unreachable hub removes nothing. Where several sources publish one key, the lowest source number takes precedence and
// a problem names both locations. Failure: none; control/compile validates what objects mean and whether they conflict.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "control/model/objects.h"

namespace isthmus {

// Something an operator should fix: what is wrong, its source location, and what to do.
using Problem = Error;

struct ServiceName {
  std::string ns, name;
  [[nodiscard]] std::string text() const { return ns + "/" + name; }
  friend auto operator<=>(const ServiceName&, const ServiceName&) = default;
};

// What changed since the last take_changes(). Applying an equal value again is no change.
struct ModelChanges {
  bool fleet = false;              // a Gateway or profile, or which clusters have objects
  std::set<ServiceName> services;  // its Service, EndpointSlices, ServiceImport or Namespace, in any cluster
  // Of kind kPod (also when the CiliumEndpoint of that name or its Namespace changed) and kAddress.
  std::set<ObjectKey> endpoints;
  std::set<ObjectKey> clusters;   // keys of kind kCluster
  std::set<ObjectKey> nodes;      // keys of kind kNode
  std::set<Identity> identities;  // a CiliumIdentity of that number
  std::set<ObjectKey> policies;   // policies, CIDR groups, the agents' configuration
  [[nodiscard]] bool empty() const {
    return !fleet && services.empty() && endpoints.empty() && clusters.empty() && nodes.empty() && identities.empty() &&
           policies.empty();
  }
};

// Where an object of the model comes from. Valid until the next apply().
class ProvenanceView {
 public:
  ProvenanceView() = default;
  // Its location is `place`, followed by `name` unless that is null.
  ProvenanceView(const std::string& place, const std::string* name, unsigned line)
      : place_(&place), name_(name), line_(line) {}
  [[nodiscard]] Provenance copy() const { return {*place_ + (name_ == nullptr ? std::string() : *name_), line_}; }
  [[nodiscard]] std::string text() const { return copy().text(); }

 private:
  const std::string *place_ = nullptr, *name_ = nullptr;
  unsigned line_ = 0;
};

class Model {
 public:
  using SourceNumber = unsigned;  // assigned by the daemon; the lowest takes precedence

  void apply(SourceNumber source, const ObjectDelta& delta);
  // The same with what was known before a restart. It counts until the source says something of the key, or forget().
  // Nothing where the source has said something already.
  void restore(SourceNumber source, const ObjectDelta& delta);
  // Removes the source's version of the key, if it was restored and is not confirmed.
  void forget(SourceNumber source, const ObjectKey& key);
  // Restored and not confirmed, by source, kind and cluster (of the key); none are not listed.
  struct RestoredPart {
    SourceNumber source = 0;
    ObjectKind kind = ObjectKind::kCluster;
    std::string cluster;
    friend auto operator<=>(const RestoredPart&, const RestoredPart&) = default;
  };
  [[nodiscard]] const std::map<RestoredPart, std::size_t>& restored() const { return restored_; }
  // Calls visit(key, value, restored) for every version of one source, of one kind and cluster, in order of key.
  template <typename Visit>
  void visit_versions(const RestoredPart& part, Visit&& visit) const {
    const ObjectKey first{part.kind, part.cluster, {}, {}};
    for (auto it = objects_.lower_bound(first);
         it != objects_.end() && it->first.kind == part.kind && it->first.cluster == part.cluster; ++it) {
      for (const Version& version : it->second) {
        if (version.source == part.source) {
          visit(it->first, version.value, version.restored);
        }
      }
    }
  }
  // Calls visit(key, value, provenance) for every version of the source.
  template <typename Visit>
  void visit_source(SourceNumber source, Visit&& visit) const {
    for (const auto& [key, versions] : objects_) {
      for (const Version& version : versions) {
        if (version.source == source) {
          visit(key, version.value, provenance_of(key, version));
        }
      }
    }
  }
  // Calls visit(source, key, value, provenance, restored) for every version of every object.
  template <typename Visit>
  void visit_all_versions(Visit&& visit) const {
    for (const auto& [key, versions] : objects_) {
      for (const Version& version : versions) {
        visit(version.source, key, version.value, provenance_of(key, version), version.restored);
      }
    }
  }
  // How many objects the source has published.
  [[nodiscard]] std::size_t versions_of(SourceNumber source) const {
    const auto at = sizes_.find(source);
    return at == sizes_.end() ? 0 : at->second;
  }
  // What the source has said of the key; nullptr: nothing. Valid until the next change.
  [[nodiscard]] const ObjectValue* version_of(SourceNumber source, const ObjectKey& key) const;
  // The same with its provenance, and whether it is restored.
  struct Said {
    const ObjectValue* value = nullptr;  // nullptr: nothing
    ProvenanceView provenance;
    bool restored = false;
  };
  [[nodiscard]] Said said(SourceNumber source, const ObjectKey& key) const;
  // Whether the object in effect is as it was known before a restart, and its source has not said anything of it yet.
  [[nodiscard]] bool is_restored(const ObjectKey& key) const {
    const auto it = objects_.find(key);
    return it != objects_.end() && it->second.front().restored;
  }
  [[nodiscard]] ModelChanges take_changes() { return std::exchange(changes_, {}); }

  template <typename T>
  struct Found {
    const T* value = nullptr;  // valid until the next apply()
    ProvenanceView provenance;
    explicit operator bool() const { return value != nullptr; }
    const T* operator->() const { return value; }
    const T& operator*() const { return *value; }
  };
  // The object of that key, if there is one and it is a T.
  template <typename T>
  [[nodiscard]] Found<T> find(const ObjectKey& key) const {
    const auto it = objects_.find(key);
    return it == objects_.end() ? Found<T>{} : view<T>(it->first, it->second);
  }
  // Calls visit(key, value, provenance) for every object of a kind, in order of key.
  template <typename T, typename Visit>
  void visit(ObjectKind kind, Visit&& visit) const {
    for (auto it = objects_.lower_bound({kind, {}, {}, {}}); it != objects_.end() && it->first.kind == kind; ++it) {
      if (const Found<T> found = view<T>(it->first, it->second)) {
        visit(it->first, *found.value, found.provenance);
      }
    }
  }
  // Calls visit(key) for every object of a kind, in order of key; of one cluster or (null) of all.
  template <typename Visit>
  void visit_keys(ObjectKind kind, Visit&& visit, const std::string* cluster = nullptr) const {
    const ObjectKey first{kind, cluster == nullptr ? std::string() : *cluster, {}, {}};
    for (auto it = objects_.lower_bound(first);
         it != objects_.end() && it->first.kind == kind && (cluster == nullptr || it->first.cluster == *cluster);
         ++it) {
      visit(it->first);
    }
  }
  // The EndpointSlices of a service in one cluster, in order of name.
  [[nodiscard]] std::vector<Found<SliceObject>> slices_of(const std::string& cluster, const ServiceName& service) const;
  // The clusters, sorted, that have a Service, EndpointSlice or ServiceImport of that name.
  [[nodiscard]] std::vector<std::string> clusters_of(const ServiceName& service) const;
  // Every name that has a Service, EndpointSlice or ServiceImport in some cluster.
  [[nodiscard]] std::set<ServiceName> service_names() const;
  // The CiliumIdentity objects with this number.
  [[nodiscard]] std::vector<Found<IdentityObject>> identities(Identity number) const;
  // Their keys, in the same order.
  [[nodiscard]] std::vector<ObjectKey> identity_keys(Identity number) const;
  // The clusters that publish objects, with the number of objects.
  [[nodiscard]] const std::map<std::string, std::size_t>& publishers() const { return publishers_; }
  [[nodiscard]] std::size_t size() const { return objects_.size(); }
  [[nodiscard]] std::vector<Problem> problems() const;
  // Whether the policies are all those there are, with what they select by: false until every source that has some was
  // read once. True: it has changed.
  bool set_policies_listed(bool listed) { return std::exchange(policies_listed_, listed) != listed; }
  [[nodiscard]] bool policies_listed() const { return policies_listed_; }
  // What of the fleet every source has said once, in full: until then who had something before a restart may say it
  // again. True: it has changed.
  struct Listed {
    bool all = false;                // of every member
    std::set<std::string> clusters;  // of these, their nodes and pods
    friend bool operator==(const Listed&, const Listed&) = default;
  };
  bool set_listed(Listed listed) {
    const bool changed = listed != listed_;
    listed_ = std::move(listed);
    return changed;
  }
  [[nodiscard]] const Listed& listed() const { return listed_; }

 private:
  using Place = std::map<std::string, std::size_t>::value_type;  // of places_
  struct Version {
    SourceNumber source = 0;
    bool restored = false;
    bool named = false;  // the location is the place followed by the object's name
    unsigned line = 0;
    Place* place = nullptr;
    ObjectValue value;
  };
  // Never empty; sorted by source number; the first is in effect. Nearly all objects have one.
  using Versions = absl::InlinedVector<Version, 1>;
  using SliceIndex = std::map<std::pair<std::string, ServiceName>, std::set<std::string>>;  // cluster, service → slices

  static ProvenanceView provenance_of(const ObjectKey& key, const Version& version) {
    return {version.place->first, version.named ? &key.name : nullptr, version.line};
  }
  template <typename T>
  static Found<T> view(const ObjectKey& key, const Versions& versions) {
    return {std::get_if<T>(&versions.front().value), provenance_of(key, versions.front())};
  }
  [[nodiscard]] Version version_for(SourceNumber source, const ObjectDelta& delta, bool restored);
  void release_place(Place* place);
  [[nodiscard]] const Version* find_version(SourceNumber source, const ObjectKey& key) const;
  void set_version(SourceNumber source, const ObjectDelta& delta, bool restored);
  void count_restored(SourceNumber source, const ObjectKey& key, int change);
  // Maintain the indexes for the version in effect: unindex() before it is replaced, index() afterwards.
  void unindex(const ObjectKey& key, const ObjectValue& value);
  void index(const ObjectKey& key, const ObjectValue& value);
  void mark(const ObjectKey& key, const ObjectValue& value);
  // Counts one object more or fewer of a service: a Service, EndpointSlice or ServiceImport. Others: nothing.
  void count_service(const ObjectKey& key, const ObjectValue& value, int change);
  void mark_namespace(const ObjectKey& key);

  std::map<ObjectKey, Versions> objects_;
  // What the locations of objects begin with, or all of it, with the number of versions that refer to it: an object of
  // an etcd hub has its own name at the end.
  std::map<std::string, std::size_t> places_;
  SliceIndex slices_;
  std::map<ServiceName, std::map<std::string, int>> services_;  // objects, by cluster
  std::map<Identity, std::set<ObjectKey>> identities_;
  std::map<std::string, std::size_t> publishers_;
  std::set<ObjectKey> duplicated_;  // published by more than one source
  std::map<RestoredPart, std::size_t> restored_;
  std::map<SourceNumber, std::size_t> sizes_;
  ModelChanges changes_;
  bool policies_listed_ = true;
  Listed listed_;
};

}  // namespace isthmus
