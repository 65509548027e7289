// A hub as control sees it: a file descriptor to wait on, and deltas when it is readable.
// Adding a hub: one folder beside this file and one line in control/daemon. Thread: control only; nothing blocks.
#pragma once

#include <string>
#include <vector>

#include "control/model/objects.h"
#include "dataplane/api/types.h"

namespace isthmus {

class Source {
 public:
  virtual ~Source() = default;
  // Reads everything there is and starts following. Deltas come from poll().
  [[nodiscard]] virtual Status start() = 0;
  // Readable (epoll, level-triggered) when poll() has work; constant between start() and destruction.
  [[nodiscard]] virtual int fd() const = 0;
  // Changes since the last call, in an order in which they may be applied. What fails to parse is kept at its last good
  // version and listed in problems().
  [[nodiscard]] virtual std::vector<ObjectDelta> poll() = 0;
  [[nodiscard]] virtual std::vector<SourceProblem> problems() const = 0;
  // A person asks to look at everything again (SIGHUP); what that finds comes from poll(). For sources that may miss
  // a change; others have nothing to do.
  virtual void reread() {}
  // True once everything that was there at start() has been returned by poll().
  [[nodiscard]] virtual bool synced() const = 0;
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace isthmus
