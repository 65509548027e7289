// A test stand: a process with its own network namespace, which answers one request at a time with a figure. Requests
// to several stands alternate, so that all see the same machine conditions. Thread: the caller's; the stand's own
// process has a thread on core 1.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "dataplane/api/types.h"
#include "dataplane/io/unique_fd.h"

namespace isthmus::perf {

class Stand {
 public:
  using Answer = std::function<double(char request)>;  // 0: failed
  // Runs in the stand's process, and makes what answers there.
  using SetUp = std::function<Result<Answer>()>;
  Stand(std::string name, const SetUp& set_up);
  ~Stand();
  Stand(const Stand&) = delete;
  Stand& operator=(const Stand&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  // Any byte but kEnd. 0: the stand failed (and printed why).
  [[nodiscard]] double ask(char request);

 private:
  std::string name_;
  pid_t process_ = -1;
  UniqueFd link_;  // a byte sent is a request, a figure is the reply
};

// Pins the calling thread to the core; without effect on a machine with fewer.
void pin_to(unsigned core);

}  // namespace isthmus::perf
