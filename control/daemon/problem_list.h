// The problems of all parts of the gateway that need a person: each is logged when it appears and when it is resolved,
// and listed by `isthmus status` in between. Of one kind (part and remedy) and of one part only so many lines are
// logged at once; how many more there were is logged, too. Owner and thread: control only. Failure: none.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/admin/replies.h"
#include "control/daemon/line_pace.h"
#include "dataplane/api/types.h"

namespace isthmus {

class ProblemList {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = std::function<Clock::time_point()>;

  explicit ProblemList(Now now = Clock::now) : now_(std::move(now)) {}

  // All present problems of one part ("hub", "routes", ...), causes before what follows from them; those it listed
  // before and no longer does are resolved.
  void set(const std::string& part, const std::vector<Error>& problems);
  void set_one(const std::string& part, const std::optional<Error>& problem);
  // The error of `status`; none when it is ok.
  void set_status(const std::string& part, const Status& status);

  // What a person is told first of that part; nullopt: it has none.
  [[nodiscard]] std::optional<std::string> first(const std::string& part) const;
  // In the order in which each part gave them, and first what hubs say wrongly, from which the others may follow.
  [[nodiscard]] std::vector<ProblemRow> rows() const;
  [[nodiscard]] std::size_t size() const;

 private:
  struct Entry {
    Error problem;
    Clock::time_point since;
    std::size_t place = 0;  // among those of its part
  };
  void log(const std::string& part, const Error& problem, const std::string& line);
  void log_suppressed();

  Now now_;
  std::map<std::string, std::map<std::string, Entry>> parts_;  // by part, by text
  std::map<std::string, std::vector<Error>> given_;            // by part, as last set
  LinePace pace_;
};

}  // namespace isthmus
