// A forwarder on a bench of its own: a process with its namespace, in which traffic runs for a turn at a time. Turns of
// several stands, one behind the other and short, see the same machine. Threads: the caller's; the stand's, core 1; a
// turn's pump and forwarder, core 0.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "dataplane/io/unique_fd.h"
#include "perf/io/forwarders.h"

namespace isthmus::perf {

// What stands between pump and sink.
struct Subject {
  std::string name;
  // Runs in the bench's namespace before traffic starts; no forwarder: the kernel forwards, or nothing stands between.
  std::function<Result<std::unique_ptr<RoundForwarder>>(Traffic& traffic)> make;
  const char* sink = nullptr;  // interface where frames end; nullptr: the bench's sink
};

struct Turn {
  double seconds = 0.1;
  unsigned frame_bytes = 60;
};

class Stand {
 public:
  Stand(Subject subject, const Turn& turn);
  ~Stand();
  Stand(const Stand&) = delete;
  Stand& operator=(const Stand&) = delete;

  [[nodiscard]] const std::string& name() const { return subject_.name; }
  // Million frames per second that reached the sink in one turn. 0: nothing arrived, or it failed and said why.
  [[nodiscard]] double take_turn();

 private:
  Subject subject_;
  pid_t process_ = -1;
  UniqueFd link_;  // a byte there asks for a turn, a rate comes back
};

}  // namespace isthmus::perf
