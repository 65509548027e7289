// The event loop of the control thread (Boost.Asio): readable descriptors, timers, what other threads hand over, and
// the connections of the servers on it. Descriptors are served before timers, so that an answer that has arrived is
// seen before its timeout. Owner and thread: control only, except post(). Callbacks must not block. They may add and
// set timers, watch and unwatch descriptors, and stop the loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "dataplane/api/types.h"

namespace boost::asio {
class io_context;
}

namespace isthmus {

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Callback = std::function<void()>;
  using TimerId = std::size_t;

  EventLoop();
  // Leaves watched descriptors open. Servers on the loop must be gone; work that was posted and not yet done is
  // dropped.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Comes before everything else.
  [[nodiscard]] Status open();
  // Calls back whenever `fd` is readable (level-triggered). Makes `fd` non-blocking.
  [[nodiscard]] Status watch(int fd, Callback callback);
  // Before `fd` is closed.
  void unwatch(int fd);

  // Runs `action` on the loop's thread, in the order of the calls. Any thread, as long as the loop exists.
  void post(Callback action);

  [[nodiscard]] TimerId add_timer(Callback callback);
  // Fires once, at `due` or as soon after as the loop gets there; replaces the time set before.
  void set_timer(TimerId timer, Clock::time_point due);
  // As set_timer, but keeps a time already set: for work that is batched.
  void set_timer_if_idle(TimerId timer, Clock::time_point due);
  void cancel_timer(TimerId timer);

  // Until stop().
  void run();
  void stop();

  // For what runs on the loop by itself.
  [[nodiscard]] boost::asio::io_context& io();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;  // null before open()
};

}  // namespace isthmus
