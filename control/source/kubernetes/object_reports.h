// What is to be written to an API server about its objects: a gateway's report on one side, what the objects' statuses
// say at present on the other, and the requests that make the second like the first. Pure: it is told the time, and
// does no I/O. Owner and thread: ApiSource's. Nothing throws.
//
// What all accept, the object's condition Accepted says once. An entry of its own in status.gateways has a gateway that
// refuses the object or a part of it, and on its own Gateway object: one of each gateway on every object would be all
// gateways' writes, times all objects, times the entries that each of them sends anew. For the same cause an object has
// the entries of kAlike gateways that say the same, and no more.
// Several gateways write beside each other by server-side apply. Each owns its entry by a field manager of its own
// name, so that none overwrites another's. The condition of the whole is a function of the entries of the cluster's
// gateways alone, so that whoever writes it writes the same: at once the gateway that the object's uid draws, the
// others after a while each, where that one has not. An entry of a gateway that the cluster has no longer is removed,
// first in the name of its manager, and then whoever owns it. Nothing is a heartbeat: what stands there already is not
// written again.
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
#include <unordered_map>
#include <utility>

#include "config/yaml/tree.h"
#include "control/source/kubernetes/api_write.h"
#include "control/source/object_report.h"

namespace isthmus {

class ObjectReports {
 public:
  using Clock = std::chrono::steady_clock;
  using WallClock = std::chrono::system_clock;

  // Of our own kinds, and of policies.
  void put(ApiObjectName name, const ObjectKey& key, const YamlNode& object);
  void erase(const std::string& location);
  // Those of now; the same pointer until they change.
  [[nodiscard]] std::shared_ptr<const ReportableObjects> objects();

  void set(std::shared_ptr<const GatewayReport> report);
  // The next that is due: our own kinds' statuses before Events; of each, one object after the other has its turn. It
  // stays due until the server's answer to it is told by one of those below.
  [[nodiscard]] std::optional<ApiWrite> next(Clock::time_point now, WallClock::time_point wall);
  // The server has done it, and the object is `now_is` (null: not said).
  void written(const ApiWrite& write, const YamlNode* now_is, Clock::time_point now);
  // kEvent: the server has it already, since a time that it does not say.
  void exists(const ApiWrite& write, Clock::time_point now);
  // Nothing about that object before `until`; the next one has its turn.
  void postpone(const ApiWrite& write, Clock::time_point until);
  // The same; and nothing that needs that right, there, before `until`.
  void refuse(const ApiWrite& write, Clock::time_point until);
  // 403, which may be of the object or of the right: the first for one object, the second for a few, one after another.
  void deny(const ApiWrite& write, Clock::time_point until);
  // Whether anything is to be written about that object at some time.
  [[nodiscard]] bool wants(const std::string& location) const;

 private:
  using Right = std::pair<std::string, std::string>;  // and the namespace
  struct Stands {
    std::size_t index = 0;                 // in status.gateways
    std::optional<ApiCondition> accepted;  // nullopt: without the condition
  };
  struct Removal {
    Clock::time_point due{};
    std::chrono::seconds pause{};  // after the next attempt
    unsigned attempts = 0;
  };
  struct Seen {
    ApiObjectName name;
    ReportableObject object;
    std::map<std::string, Stands> entries;  // by gateway
    std::optional<ApiCondition> summary, ready;
    std::string version, workers, problems;  // of a Gateway
    Clock::time_point not_before{}, entry_written{}, summary_written{};
    std::chrono::seconds summary_pause{};                             // since summary_written
    std::optional<Clock::time_point> entry_differs, summary_differs;  // since when
    std::map<std::string, Removal> removals;                          // by gateway
    std::string event;                                                // the last that was written
    Clock::time_point event_again{};
    std::int64_t version_known = 0;     // the generation of `object` when next() looked last
    Clock::time_point version_since{};  // when it saw that one first
  };
  enum class Difference : std::uint8_t { kNone, kText, kMore };  // kText: nothing but a message or a number
  struct Entry {
    std::optional<ApiCondition> accepted;  // nullopt: none is to stand there
    std::optional<GatewayStatus> own;
    Difference difference = Difference::kNone;
  };
  static void read_status(const YamlNode& object, Seen& seen);
  static Difference difference(const std::optional<ApiCondition>& have, const ApiCondition& want);
  [[nodiscard]] std::optional<ApiWrite> next_of(Seen& seen, const ObjectReport& report, Clock::time_point now,
                                                WallClock::time_point wall) const;
  [[nodiscard]] Entry entry_of(const Seen& seen, const ObjectReport& report, WallClock::time_point wall) const;
  [[nodiscard]] GatewayStatus own_status(const Seen& seen, const ObjectReport& report,
                                         WallClock::time_point wall) const;
  [[nodiscard]] std::optional<ApiWrite> entry(Seen& seen, const Entry& want, Clock::time_point now,
                                              WallClock::time_point wall) const;
  [[nodiscard]] bool is_superfluous(const std::string& gateway, const Entry& own) const;
  [[nodiscard]] std::optional<ApiWrite> removal(Seen& seen, const Entry& own, Clock::time_point now) const;
  [[nodiscard]] ApiCondition summary_of(const Seen& seen, Clock::time_point now) const;
  [[nodiscard]] std::optional<ApiWrite> summary(Seen& seen, Clock::time_point now, WallClock::time_point wall) const;
  [[nodiscard]] unsigned rank(const Seen& seen) const;
  [[nodiscard]] bool is_refused(const ApiWrite& write, Clock::time_point now) const;
  Seen* answered(const ApiWrite& write);

  std::map<std::string, Seen> seen_;  // by location
  std::shared_ptr<const ReportableObjects> objects_ = std::make_shared<const ReportableObjects>();
  bool objects_changed_ = false;
  std::shared_ptr<const GatewayReport> report_;
  std::unordered_map<std::string_view, const ObjectReport*> reported_;  // of report_, by location
  std::size_t place_ = 0;                                               // of this gateway among report_->gateways
  std::map<Right, Clock::time_point> refused_;                          // until then
  std::map<Right, std::set<std::string>> denied_;                       // objects, since the right's last success
  std::string last_status_, last_event_;  // the locations of the objects that had their turns last
  bool event_next_ = false;               // a status was put off: it is an Event's turn, so that none waits for ever
};

}  // namespace isthmus
