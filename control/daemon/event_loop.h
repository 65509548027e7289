// The event loop of the control thread: readable descriptors, and timers. Descriptors are served before timers, so that
// an answer that has arrived is seen before its timeout. Owner and thread: control only. Callbacks must not block. They
// may add and set timers and stop the loop, but not unwatch a descriptor other than their own.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>

#include "dataplane/api/types.h"

namespace isthmus {

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Callback = std::function<void()>;
  using TimerId = std::size_t;

  EventLoop() = default;
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  [[nodiscard]] Status open();
  // Calls back whenever `fd` is readable (level-triggered).
  [[nodiscard]] Status watch(int fd, Callback callback);
  void unwatch(int fd);

  [[nodiscard]] TimerId add_timer(Callback callback);
  // Fires once, at `due` or as soon after as the loop gets there; replaces the time set before.
  void set_timer(TimerId timer, Clock::time_point due) { timers_[timer].due = due; }
  // As set_timer, but keeps a time already set: for work that is batched.
  void set_timer_if_idle(TimerId timer, Clock::time_point due);
  void cancel_timer(TimerId timer) { timers_[timer].due.reset(); }

  // Until stop().
  [[nodiscard]] Status run();
  void stop() { stopping_ = true; }

 private:
  struct Timer {
    std::optional<Clock::time_point> due;
    Callback callback;
  };
  void arm();
  void serve_timers();

  int epoll_ = -1;
  int clock_ = -1;  // one timerfd, set to the earliest timer
  bool stopping_ = false;
  std::map<int, Callback> watched_;
  std::deque<Timer> timers_;  // a timer may be added while another is served
};

}  // namespace isthmus
