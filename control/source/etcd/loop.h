// The event loop of the etcd source's thread: gRPC completions, timers and work posted from other threads.
//
// Owner: EtcdSource and EtcdRegistration, one each. Thread: run() makes the calling thread the loop's; everything else
// is called on it, but for post() and stop() (any thread). gRPC stays behind this header and client.h.
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
  // Precondition: run() has returned, and every call made on this loop is cancelled. Waits for their last completions.
  ~EtcdLoop();
  EtcdLoop(const EtcdLoop&) = delete;
  EtcdLoop& operator=(const EtcdLoop&) = delete;

  // Returns after stop(), and may be called again. Calls `after_each` whenever something was handled.
  void run(const Action& after_each);
  void stop();
  void post(Action action);

  struct Inside;  // of loop.cc and client.cc
  [[nodiscard]] Inside& inside() { return *inside_; }

 private:
  std::unique_ptr<Inside> inside_;
};

// One action at a time, at a later time, on the loop. Setting it anew or destroying it forgets the former one.
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
