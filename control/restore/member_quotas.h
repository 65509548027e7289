// How much of each other member of the fleet the model takes: endpoints, services, bytes. What stands stays; what would
// go beyond is left out by name, and comes in when there is room again.
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
#include "control/model/model.h"

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
  // Takes what profiles say of members; to be called after a profile has changed.
  void read_profiles();

  [[nodiscard]] std::vector<Error> problems() const;

 private:
  struct Use {
    std::size_t endpoints = 0, services = 0, bytes = 0;
  };
  struct Waiting {
    std::map<ObjectKey, ObjectDelta> deltas;
    std::size_t bytes = 0;
    std::set<ObjectKey> lost;   // that were not even kept waiting
    std::size_t more_lost = 0;  // whose keys were not kept either
    bool try_again = false;
    [[nodiscard]] bool empty() const { return deltas.empty() && lost.empty() && more_lost == 0; }
  };

  [[nodiscard]] bool is_limited(const ObjectKey& key) const { return !key.cluster.empty() && key.cluster != own_; }
  [[nodiscard]] const MemberLimits& limits_of(const std::string& cluster) const;
  // Whether the key's value may grow from `before` to `now` bytes. 0: there is none.
  [[nodiscard]] bool fits(const ObjectKey& key, std::size_t before, std::size_t now) const;
  void wait(Hub hub, const ObjectDelta& delta);
  void stop_waiting(Hub hub, const ObjectKey& key);
  void count(const ObjectKey& key, std::size_t before, std::size_t now);
  [[nodiscard]] std::size_t bytes_of(Hub hub, const ObjectKey& key) const;  // 0: the hub has said nothing of it

  MemberLimits limits_;
  std::string own_;
  Model& model_;
  std::map<std::string, MemberLimits> by_profile_;  // of the members that profiles describe
  std::map<std::string, Use> used_;
  std::map<std::pair<Hub, std::string>, Waiting> waiting_;  // by hub and cluster
};

}  // namespace isthmus
