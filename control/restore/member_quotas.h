// How much of each other member of the fleet the model takes: endpoints, services, gateways, bytes. What stands stays;
// what would go beyond is left out by name, and comes in when there is room again.
//
// Every change of the model passes here. Of what waits, as much is kept as may stand; the rest is counted, and comes
// with the next start. What belongs to no cluster, and our own cluster, are not limited. Owner: Intake. Thread:
// control.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model/admission_rules.h"
#include "control/model/aliases.h"

namespace isthmus {

class MemberQuotas {
 public:
  using Hub = Model::SourceNumber;

  // `own`: the name of our cluster. `model` must outlive this.
  MemberQuotas(MemberLimits limits, std::string own, Model& model)
      : limits_(limits), own_(std::move(own)), model_(model) {}

  // Applies the change to the model. False: it waits, and what the hub said of the key before stays.
  bool apply(Hub hub, const ObjectDelta& delta);
  // As Model's of those names.
  void restore(Hub hub, const ObjectDelta& delta);
  void forget(Hub hub, const ObjectKey& key);
  // Applies what waits of the hub and has room now; returns it.
  [[nodiscard]] std::vector<ObjectDelta> admit_waiting(Hub hub);
  // What waits of the cluster under the names that it has now.
  void rename(const std::string& cluster, const AliasPrefixes& before, const AliasPrefixes& now);
  // Takes what profiles say of members; to be called after a profile has changed.
  void read_profiles();

  [[nodiscard]] std::vector<Error> problems() const;

 private:
  struct Use {
    std::size_t endpoints = 0, services = 0, gateways = 0, bytes = 0;
  };
  struct Waiting {
    std::map<ObjectKey, ObjectDelta> deltas;
    std::size_t bytes = 0;
    std::set<ObjectKey> lost;   // that were not even kept waiting
    std::size_t more_lost = 0;  // whose keys were not kept either
    bool try_again = false;
    [[nodiscard]] bool empty() const { return deltas.empty() && lost.empty() && more_lost == 0; }
  };

  // Whose object it is, and what its value may be measured by. 0 bytes: there is none.
  struct Size {
    std::string member{};
    std::size_t bytes = 0;
  };

  [[nodiscard]] bool is_limited(const std::string& member) const { return !member.empty() && member != own_; }
  [[nodiscard]] const MemberLimits& limits_of(const std::string& cluster) const;
  // What the hub has said of it before.
  [[nodiscard]] Size standing(Hub hub, const ObjectKey& key) const;
  [[nodiscard]] static Size size_of(const ObjectKey& key, const ObjectValue& value);
  // Whether the key's value may become another one.
  [[nodiscard]] bool fits(ObjectKind kind, const Size& before, const Size& now) const;
  void wait(Hub hub, const ObjectDelta& delta);
  void stop_waiting(Hub hub, const ObjectKey& key);
  void count(ObjectKind kind, const Size& before, const Size& now);
  void add(ObjectKind kind, const Size& size, bool more);

  MemberLimits limits_;
  std::string own_;
  Model& model_;
  std::map<std::string, MemberLimits> by_profile_;  // of the members that profiles describe
  std::map<std::string, Use> used_;
  std::map<std::pair<Hub, std::string>, Waiting> waiting_;  // by hub and cluster
};

}  // namespace isthmus
