// A worker: one thread, optionally pinned, that polls its queues and runs every burst through the packet path.
// Created and destroyed by the engine (control thread); everything between start and join runs on its own thread.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "dataplane/conntrack/lifecycle.h"
#include "dataplane/packet/packet.h"
#include "dataplane/path/context.h"
#include "dataplane/worker/handoff.h"

namespace isthmus {

class Worker final : private lifecycle::UnansweredWatch {
 public:
  struct Setup {
    explicit Setup(Refusals standing) : refusals(std::move(standing)) {}

    WorkerId id;
    int core = -1;        // -1: not pinned
    int control_fd = -1;  // eventfd, signalled when there are events
    Refusals refusals;
    std::unique_ptr<FramePool> pool;
    std::vector<std::unique_ptr<DeviceQueue>> queues;  // by DeviceId
  };
  Worker(SharedState& shared, Setup setup);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Before start(): packets of these devices, a bit for each, go to the workers that they are for. nullptr: they stay.
  void set_handoff(Handoff* handoff, std::uint64_t devices) noexcept { handoff_ = handoff, hands_out_ = devices; }

  // Error: the thread runs, but not on its CPU. May follow stop().
  [[nodiscard]] Status start();
  void stop();

  // While it stands. Frames that wait for a neighbour; and drops them.
  [[nodiscard]] unsigned waiting() const noexcept { return context_.output.waiting_count; }
  void drop_waiting() noexcept;

  // While all workers stand, until none has anything for another one: what others have handed to it goes its way.
  void finish_handed();

  // One iteration of the worker's loop on the calling thread, for benchmarks and tests that use it instead of start().
  // Returns the number of packets received.
  unsigned round();

  // Called after idle rounds: sleeps in the kernel until frames, a command or a timeout.
  void wait();

  [[nodiscard]] const WorkerCounters& counters() const noexcept { return context_.counters; }
  // How often the thread has polled its queues. Any thread.
  [[nodiscard]] std::uint64_t polls() const noexcept { return polls_.load(std::memory_order_relaxed); }
  [[nodiscard]] Mailbox& mailbox() noexcept { return mailbox_; }
  [[nodiscard]] FlowEventQueue& flow_events() noexcept { return flow_events_; }
  [[nodiscard]] const DeviceQueue& queue(DeviceId device) const noexcept { return *setup_.queues[device.value()]; }
  [[nodiscard]] FramePool& pool() noexcept { return *setup_.pool; }

 private:
  void run();
  unsigned work();
  unsigned work_without_tables();
  unsigned poll_queue(DeviceId device);
  unsigned poll_handed();
  void forward(DeviceId device, unsigned count);
  void flush();
  void maintain(bool idle);
  void age_connections(std::uint64_t max_slots);
  void unanswered(const Connection& connection) noexcept override;
  void report_to_control(bool idle) noexcept;
  void read_clock() noexcept;

  SharedState& shared_;
  Setup setup_;
  Handoff* handoff_ = nullptr;
  std::uint64_t hands_out_ = 0;
  Mailbox mailbox_;
  FlowEventQueue flow_events_;
  PathContext context_;
  std::unique_ptr<Burst> burst_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> polls_{0};  // this thread's to write
  std::uint64_t rounds_ = 0;
  std::uint64_t aged_ns_ = 0;  // time of the last aging step
};

}  // namespace isthmus
