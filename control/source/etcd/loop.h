// The event loop of the etcd source's thread: gRPC completions, timers and work posted from other threads.
//
// Owner: EtcdEngine and EtcdRegistration, one each. Thread: run() turns the calling thread into the loop's; everything
// else must be called on it, except post() and stop() (any thread). This header and client.h hide gRPC.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace isthmus {

class EtcdLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Action = std::function<void()>;

  EtcdLoop();
  // Precondition: run() has returned, and every call on this loop is cancelled. Waits for their last completions.
  ~EtcdLoop();
  EtcdLoop(const EtcdLoop&) = delete;
  EtcdLoop& operator=(const EtcdLoop&) = delete;

  // Returns after stop(); may be called again. Calls `after_each` once per iteration, on the loop's thread.
  void run(const Action& after_each);
  void stop();
  void post(Action action);

  struct Impl;  // see loop_impl.h
  [[nodiscard]] Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Runs one action at a later time, on the loop. Setting it again or destroying it cancels the former action.
class EtcdTimer {
 public:
  explicit EtcdTimer(EtcdLoop& loop) : loop_(loop) {}
  ~EtcdTimer() { cancel(); }
  EtcdTimer(const EtcdTimer&) = delete;
  EtcdTimer& operator=(const EtcdTimer&) = delete;
  void set(std::chrono::milliseconds from_now, EtcdLoop::Action action);
  void cancel();
  [[nodiscard]] bool armed() const { return id_ != 0; }

 private:
  EtcdLoop& loop_;
  std::uint64_t id_ = 0;
};

}  // namespace isthmus
