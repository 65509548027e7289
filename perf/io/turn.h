// One turn of traffic through a forwarder in a stand of its own. Threads: the turn's pump and forwarder on core 0.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "perf/io/forwarders.h"
#include "perf/io/stand.h"

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

// Above the pump's, so that each batch is forwarded before the next is pumped.
inline constexpr int kForwarderPriority = 10;
// Of the calling thread; without the privilege nothing changes, and results are noisier.
void set_realtime_priority(int priority);

// Million frames per second that reach the sink within `seconds`, while the pump runs, and the forwarder if there is
// one. 0: nothing arrived.
[[nodiscard]] double take_turn(Traffic& traffic, RoundForwarder* forwarder, double seconds);

// A stand in which the subject is set up; any request is for one turn.
[[nodiscard]] std::unique_ptr<Stand> stand_of(const Subject& subject, const Turn& turn);

}  // namespace isthmus::perf
