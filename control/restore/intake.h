// Between the hubs and the model: what was known before a restart, and what stays although a hub no longer says it.
//
// Restored objects count until their hub says something of them, until a complete list of their member or kind lacks
// them, or until they are too old. What a list lacks is judged as it is while the gateway runs. An etcd that lacks too
// many of a cluster's objects may have lost them: they stay for a while, as after a reconnect. A folder that has
// nothing for the fleet, or for all clusters, may not be mounted: the same. A list of an API server is its word: what
// it lacks goes at once (2026-11-29: policies stayed too, and with them what they allowed); of what it withholds, what
// was known stands and grows no older. A gateway that answers probes stays for the lifetime of a lease. How long
// something is held is counted over restarts. A policy whose first version since is refused stays as it was before the
// restart, as it does at a gateway that was not restarted. Owner: Hubs. Thread: control.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/model/aliases.h"
#include "control/model/model.h"
#include "control/restore/keeper.h"
#include "control/restore/member_quotas.h"
#include "control/source/source.h"

namespace isthmus {

struct IntakeOptions {
  std::chrono::milliseconds max_age{0};  // of restored objects; 0: none are used
  // More than this percentage of the restored objects of a list of an etcd, and at least ten, are held when the list
  // lacks them. 0 and 100: none.
  unsigned hold_percent = 50;
  std::chrono::milliseconds hold_time{600'000};
  std::chrono::milliseconds gateway_hold{60'000};  // of a gateway that answers probes
  std::string own{};                               // the name of our cluster
  MemberLimits limits{};                           // of the others
  ClusterAliases aliases{};                        // as configured
};

// What of a hub's member is as it was before the restart.
struct RestoredView {
  std::string hub, cluster;  // of the object's key: empty for fleet objects
  std::size_t objects = 0;
  std::chrono::seconds age{0};  // since the hub's data was last known to be current
  bool held = false;            // a list lacks them
};

class Intake {
 public:
  using Clock = std::chrono::steady_clock;
  using Hub = Model::SourceNumber;                                  // an index of `hubs`
  using Answers = std::function<bool(const std::string& gateway)>;  // whether it answers probes
  using Lost = std::vector<std::pair<std::string, ObjectDelta>>;    // hub and removal
  struct Hold {
    KeptPart part;
    std::optional<Clock::time_point> until;  // nothing: no longer held
  };

  // `hubs`: as the configuration names them. `model` must outlive this.
  Intake(const IntakeOptions& options, std::vector<std::string> hubs, Model& model)
      : options_(options),
        hubs_(std::move(hubs)),
        model_(model),
        quotas_(options.limits, options.own, model),
        aliases_(options.aliases) {}

  // Once, before the first take(). Returns what is not used: too old, or of a hub that is not configured.
  [[nodiscard]] Lost restore(KeptState kept, std::chrono::system_clock::time_point wall, Clock::time_point now);
  // Applies to the model what a hub says, except removals that are held and what goes beyond a member's limits. Returns
  // what was applied.
  [[nodiscard]] std::vector<ObjectDelta> take(Hub hub, std::vector<ObjectDelta> deltas, const Answers& answers,
                                              Clock::time_point now);
  // Removes restored objects that complete lists of the source lack. Returns the removals.
  [[nodiscard]] std::vector<ObjectDelta> confirm(Hub hub, const Source& source, const Answers& answers,
                                                 Clock::time_point now);
  // Removes what was held long enough, and what has become too old. Returns the removals, by hub.
  [[nodiscard]] std::vector<std::pair<Hub, ObjectDelta>> expire(const Answers& answers, Clock::time_point now);

  // What has come to be held since the last call, and what is no longer.
  [[nodiscard]] std::vector<Hold> take_holds() { return std::exchange(holds_, {}); }
  // Has take_holds() return all that is held, as if it had come to be since.
  void repeat_holds();

  // To be called after the others: where profiles have changed aliases, what hubs have said of those clusters gets
  // other addresses. Returns that, with the removal of what had its former address for a name.
  [[nodiscard]] std::vector<std::pair<Hub, ObjectDelta>> take_renamed();

  // Whether the hub's policies were all known before the restart, and that is not too long ago.
  [[nodiscard]] bool policies_restored(Hub hub, Clock::time_point now) const;
  // What members of the hub had and it has not said again.
  [[nodiscard]] RestoredMembers restored_members(Hub hub) const;
  // Whether a policy that the hub refuses is in force as it was before the restart.
  [[nodiscard]] bool outlives(Hub hub, const ObjectKey& key) const { return outlived_.contains({hub, key}); }
  [[nodiscard]] std::vector<RestoredView> restored(Clock::time_point now) const;  // by hub and cluster
  [[nodiscard]] std::vector<Error> problems(Clock::time_point now) const;

 private:
  enum class Why : std::uint8_t { kAnswers, kEmptied };
  struct Held {
    Clock::time_point until;
    Why why = Why::kAnswers;
  };
  using Key = std::pair<Hub, ObjectKey>;
  struct Aliases {
    AliasPrefixes had, has;
  };

  [[nodiscard]] std::optional<Hub> number_of(const std::string& hub) const;
  // When the hub's data of that kind and member was last known to be current.
  [[nodiscard]] std::optional<Clock::time_point> seen(Hub hub, ObjectKind kind, const std::string& member) const;
  [[nodiscard]] bool too_old(std::optional<Clock::time_point> seen, Clock::time_point now) const {
    return !seen || now - *seen > options_.max_age;
  }
  [[nodiscard]] bool holds(Hub hub, const ObjectKey& key, const Answers& answers, Clock::time_point now);
  // Takes a version of a policy that the hub refuses, and that is the first since the restart, for the one before.
  void keep_valid(Hub hub, ObjectDelta& delta);
  [[nodiscard]] bool empties(Hub hub, const std::vector<ObjectDelta>& deltas) const;
  [[nodiscard]] bool retains(const Model::RestoredPart& part, std::size_t missing);
  // Until when the part is held; sets it where it is not held yet.
  Clock::time_point hold(const Model::RestoredPart& part, Clock::time_point now);
  void end_hold(const Model::RestoredPart& part);
  void end_holds();
  [[nodiscard]] KeptPart kept_part(const Model::RestoredPart& part) const;
  void confirm_part(const Model::RestoredPart& part, const Source& source, const Answers& answers,
                    Clock::time_point now, std::vector<ObjectDelta>& removed);
  void forget(Hub hub, const std::vector<ObjectKey>& keys, std::vector<ObjectDelta>& removed);
  // A profile that the hub says, with those of its former clusters that are restored and not confirmed.
  void update_profiles(Hub hub, std::vector<ObjectDelta>& applied);
  // In the form in which the fleet knows the addresses of each cluster.
  void read_by_aliases(std::vector<ObjectDelta>& deltas) const;
  // What is known of each of these clusters.
  [[nodiscard]] std::vector<std::pair<Hub, ObjectDelta>> rename(const std::map<std::string, Aliases>& changed);

  IntakeOptions options_;
  std::vector<std::string> hubs_;
  Model& model_;
  MemberQuotas quotas_;
  std::map<std::pair<Hub, std::string>, Clock::time_point> seen_;
  std::map<Hub, Clock::time_point> policies_;                    // when they were last all known
  std::map<Model::RestoredPart, std::size_t> totals_;            // restored at the start
  std::map<Model::RestoredPart, Clock::time_point> kept_until_;  // parts that a list lacks too much of
  std::map<Model::RestoredPart, Clock::time_point> deadlines_;   // as kept before the restart, or told to be kept
  ClusterAliases aliases_;                                       // by which what hubs say is read
  bool profiles_changed_ = false;
  std::vector<Hold> holds_;
  std::set<std::pair<Hub, bool>> said_any_;  // hubs that have said something of clusters; true: of the fleet
  std::map<Key, Held> held_;                 // removals that are not applied
  std::set<Key> outlived_;                   // policies, see outlives()
  std::map<Key, ProfileObject> former_;      // profiles as restored
  std::map<Key, ObjectDelta> said_;          // profiles as their hub says them, while former_ has them
};

}  // namespace isthmus
