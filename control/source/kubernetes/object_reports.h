// What is to be written to an API server about its objects: a gateway's report on one side, what the objects' statuses
// say at present on the other, and the requests that make the second like the first. Pure: it is told the time, and
// does no I/O. Owner and thread: ApiSource's. Nothing throws.
//
// Several gateways write beside each other by server-side apply. Each owns its entry of status.gateways, by a field
// manager of its own name, so that none overwrites another's. The condition Accepted of the whole is a function of the
// entries alone, so that whoever writes it writes the same: the first gateway by name at once, the others after a while
// each, where the first has not. An entry of a gateway that the cluster has no longer is removed in the same way, by an
// empty apply in the name of its manager. Nothing is a heartbeat: what stands there already is not written again.
// (2026-11-30: one status for all, written by an elected gateway, would hide what the others make of an object, and
// needs a lease, which is a heartbeat.)
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "config/yaml/tree.h"
#include "control/source/object_report.h"

namespace isthmus {

// An object as an API server names it.
struct ApiObjectName {
  std::string location;               // its URL
  std::string path;                   // of the URL, behind the server's
  std::string version, kind, plural;  // "isthmus.io/v1alpha1", "Cluster", "clusters"
};

struct ApiWrite {
  enum class What : std::uint8_t { kEntry, kSummary, kRemoval, kEvent };
  What what = What::kEntry;
  std::string location;  // of the object that it is about
  std::string gateway;   // kRemoval: whose entry
  std::string ns;        // kEvent: where it is written
  std::string method, target, content_type, body;
  std::string right;  // "patch on clusters/status of isthmus.io"
};

class ObjectReports {
 public:
  using Clock = std::chrono::steady_clock;
  using WallClock = std::chrono::system_clock;

  // Of our own kinds, and of policies.
  void put(const ApiObjectName& name, const ObjectKey& key, const YamlNode& object);
  void erase(const std::string& location);
  [[nodiscard]] bool has(const std::string& location) const { return seen_.contains(location); }
  // Those of now; the same pointer until they change.
  [[nodiscard]] std::shared_ptr<const ReportableObjects> objects();

  void set(std::shared_ptr<const GatewayReport> report);
  // The next that is due: our own kinds' statuses before Events, of which one policy after the other has its turn. It
  // stays due until written(), postpone() or refuse().
  [[nodiscard]] std::optional<ApiWrite> next(Clock::time_point now, WallClock::time_point wall);
  // The server has done it, and the object is `now_is` (null: not said).
  void written(const ApiWrite& write, const YamlNode* now_is, Clock::time_point now);
  // Nothing about that object before `until`.
  void postpone(const ApiWrite& write, Clock::time_point until);
  // Nothing that needs that right, there, before `until`.
  void refuse(const ApiWrite& write, Clock::time_point until) { refused_[{write.right, write.ns}] = until; }

 private:
  struct Condition {
    std::string status, reason, message, since, generation;
  };
  struct Seen {
    ApiObjectName name;
    ReportableObject object;
    std::string ns, uid;
    std::map<std::string, std::optional<Condition>> entries;  // by gateway; nullopt: without the condition
    std::optional<Condition> summary, ready;
    std::string version, workers, problems;  // of a Gateway
    Clock::time_point not_before{}, written{};
    std::optional<Clock::time_point> differs_since;          // the summary
    std::map<std::string, Clock::time_point> unknown_since;  // gateways with an entry that the cluster has not
    std::string event;                                       // the last that was written
    Clock::time_point event_written{};
  };
  static void read_status(const YamlNode& object, Seen& seen);
  [[nodiscard]] std::optional<ApiWrite> next_of(Seen& seen, const ObjectReport& report, Clock::time_point now,
                                                WallClock::time_point wall) const;
  [[nodiscard]] std::optional<ApiWrite> entry(const Seen& seen, const ObjectReport& report, Clock::time_point now,
                                              WallClock::time_point wall) const;
  [[nodiscard]] std::optional<ApiWrite> summary(Seen& seen, Clock::time_point now, WallClock::time_point wall) const;
  [[nodiscard]] std::optional<ApiWrite> removal(Seen& seen, Clock::time_point now) const;
  [[nodiscard]] std::optional<ApiWrite> event(const Seen& seen, const ObjectReport& report, Clock::time_point now,
                                              WallClock::time_point wall) const;
  [[nodiscard]] static Condition summary_of(const Seen& seen);
  [[nodiscard]] unsigned rank(const Seen& seen) const;
  [[nodiscard]] bool is_refused(const ApiWrite& write, Clock::time_point now) const;

  std::map<std::string, Seen> seen_;  // by location
  std::shared_ptr<const ReportableObjects> objects_ = std::make_shared<const ReportableObjects>();
  bool objects_changed_ = false;
  std::shared_ptr<const GatewayReport> report_;
  std::map<std::pair<std::string, std::string>, Clock::time_point> refused_;  // rights, by namespace
  std::string last_event_;  // the location of the policy that one was written about
};

}  // namespace isthmus
