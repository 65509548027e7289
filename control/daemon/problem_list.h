// What a person should mend, from all parts of the gateway: logged once when it appears and once when it is mended,
// listed by `isthmus status` in between.
// Owner and thread: control only. Failure: none.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/admin/replies.h"
#include "dataplane/api/types.h"

namespace isthmus {

class ProblemList {
 public:
  using Clock = std::chrono::steady_clock;

  // All that stands now in one part ("hub", "routes", ...); what the part listed before and no longer does is mended.
  void set(const std::string& part, const std::vector<Error>& problems);
  void set_one(const std::string& part, const std::optional<Error>& problem);
  // The error of a status, or mended.
  void set_status(const std::string& part, const Status& status);

  [[nodiscard]] std::vector<ProblemRow> rows() const;
  [[nodiscard]] std::size_t size() const;

 private:
  struct Entry {
    Error problem;
    Clock::time_point since;
  };
  std::map<std::string, std::map<std::string, Entry>> parts_;  // by part, by text
};

}  // namespace isthmus
