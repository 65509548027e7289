// A forwarder in a test stand of its own: a process with its own namespace, in which traffic runs for one turn at a
// time. Short turns of several stands alternate, so that all see the same machine conditions. Threads: the caller's;
// the stand's on core 1; a turn's pump and forwarder on core 0.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "dataplane/io/unique_fd.h"
#include "perf/io/forwarders.h"

namespace isthmus::perf {

// What is measured, between pump and sink.
struct Subject {
  std::string name;
  // Runs in the stand's namespace before traffic starts. Null forwarder: the kernel forwards, or nothing does.
  std::function<Result<std::unique_ptr<RoundForwarder>>(Traffic& traffic)> make;
  const char* sink = nullptr;  // interface of the sink; nullptr: kInterfaceSink
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
  // Million frames per second that reached the sink in one turn. 0: nothing arrived, or the stand failed (and printed
  // why).
  [[nodiscard]] double take_turn();

 private:
  Subject subject_;
  pid_t process_ = -1;
  UniqueFd link_;  // a byte sent requests a turn, the rate is the reply
};

}  // namespace isthmus::perf
