// The problems of all parts of the gateway that need a person: each is logged when it appears and when it is resolved,
// and listed by `isthmus status` in between.
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

  // All present problems of one part ("hub", "routes", ...); those it listed before and no longer does are resolved.
  void set(const std::string& part, const std::vector<Error>& problems);
  void set_one(const std::string& part, const std::optional<Error>& problem);
  // The error of `status`; none when it is ok.
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
