#include "control/daemon/polling.h"

#include <algorithm>
#include <string>
#include <utility>

namespace isthmus {

std::vector<std::size_t> Polling::standing(std::vector<std::uint64_t> polls) {
  std::vector<std::size_t> standing;
  for (std::size_t worker = 0; worker < std::min(polls.size(), before_.size()); ++worker) {
    if (polls[worker] == before_[worker]) {
      standing.push_back(worker);
    }
  }
  before_ = std::move(polls);
  return standing;
}

std::optional<Error> polling_problem(const std::vector<std::size_t>& standing) {
  if (standing.empty()) {
    return std::nullopt;
  }
  std::string names;
  for (const std::size_t worker : standing) {
    names += (names.empty() ? "" : ", ") + std::to_string(worker);
  }
  return Error{"workers have stopped polling their queues, and packets for them are lost: " + names, "workers",
               "see what keeps the threads isthmus-w* from their CPUs (a task with real-time priority, a debugger), or "
               "restart the gateway; under systemd, WatchdogSec does"};
}

}  // namespace isthmus
