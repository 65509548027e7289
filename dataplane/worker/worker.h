// A worker: one thread, pinned where asked, that polls its queues and runs every burst through the path to its end.
// Made and destroyed by the engine (control thread); everything between start and join happens on its own thread.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus {

class Worker {
 public:
  struct Setup {
    WorkerId id;
    int core = -1;        // -1: not pinned
    int control_fd = -1;  // rung when there are events
    std::unique_ptr<FramePool> pool;
    std::vector<std::unique_ptr<DeviceQueue>> queues;  // by DeviceId
  };
  Worker(SharedState& shared, Setup setup);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start();
  void stop();

  // One round on the calling thread: what the thread does in its loop, for benchmarks and tests that drive it
  // themselves instead of start(). Returns how many packets came in.
  unsigned round();

  // What the thread does when rounds bring nothing: waits in the kernel for frames, commands or the clock.
  void wait();

  [[nodiscard]] const WorkerCounters& counters() const noexcept { return context_.counters; }
  [[nodiscard]] Mailbox& mailbox() noexcept { return mailbox_; }
  [[nodiscard]] FlowEventQueue& flow_events() noexcept { return flow_events_; }
  [[nodiscard]] const DeviceQueue& queue(DeviceId device) const noexcept { return *setup_.queues[device.value()]; }
  [[nodiscard]] FramePool& pool() noexcept { return *setup_.pool; }

 private:
  void run();
  unsigned work();
  unsigned poll_queue(DeviceId device);
  void flush();
  void housekeeping(bool idle);
  void sweep(std::uint64_t most);
  void tell_control(bool idle) noexcept;
  void read_clock() noexcept;

  SharedState& shared_;
  Setup setup_;
  Mailbox mailbox_;
  FlowEventQueue flow_events_;
  PathContext context_;
  std::unique_ptr<Burst> burst_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::uint64_t rounds_ = 0;
  std::uint64_t swept_ns_ = 0;  // when the janitor last looked
};

}  // namespace isthmus
