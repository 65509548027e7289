// A process in front of the gateway's, for a service manager that ends the old process before it starts the new one
// (`systemctl restart`): told to stop, it ends at once, while the gateway behind it forwards on until its successor has
// taken over, or for handover.wait.
//
// Life cycle: start() forks. In front it never returns: it passes signals on, and exits as the gateway does. SIGABRT,
// with which a service manager ends what its watchdog finds stuck, ends the gateway for certain, as do SIGTERM and
// SIGINT where it does not answer. Its own end without a word, such as SIGKILL, is the gateway's as well.
// Behind it the gateway says goes_on() when it does not end, and ends for certain some time after it said it would.
// Thread: the main thread, before any other exists.
#pragma once

#include <chrono>

#include "dataplane/api/types.h"

namespace isthmus {

class Front {
 public:
  Front() = default;
  ~Front();
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  // Error: no process can be made; nothing has changed.
  [[nodiscard]] Status start();
  // Ends the process in front, for the gateway goes on for `time`; nothing where there is none.
  void goes_on(std::chrono::milliseconds time);

 private:
  int pipe_ = -1;
};

}  // namespace isthmus
