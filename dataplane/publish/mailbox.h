// Messages between one worker and control: commands down, events up, in single-producer single-consumer queues. When a
// queue is full, an event is dropped and counted, and a command is refused; nobody waits. File descriptors wake the
// other side, at most once per round.
#pragma once

#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdint>

#include "dataplane/api/openings.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct ProbeCommand {
  PeerId peer;
  std::uint32_t sequence = 0;
  bool another = false;
  Bytes bytes;  // of the outer IP packet; 0: as short as it can be
  std::uint16_t way = 0;
};

struct WorkerEvent {
  enum class Kind : std::uint8_t { kNeighbourRequest, kProbeAnswer, kPathMtu } kind = Kind::kNeighbourRequest;
  DeviceId device;
  IpAddress address;
  PeerId peer;
  std::uint32_t sequence = 0;  // kPathMtu: bytes
  bool draining = false;
  std::uint16_t way = 0;  // kPathMtu
};

class Mailbox {
 public:
  Mailbox();
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Worker.
  void post(const WorkerEvent& event) noexcept {
    if (events_.push(event)) {
      wake_control_ = true;
    } else {
      lost_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  // In a queue of their own, so that failing clients do not displace other events.
  void post(const OpeningOutcome& outcome) noexcept {
    outcomes_posted_ = true;
    if (!outcomes_.push(outcome)) {
      outcomes_lost_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  // Whether control should be woken for outcomes now: they are gathered, so that many of them make few system calls.
  // `idle`: the worker is about to sleep.
  [[nodiscard]] bool outcomes_due(std::uint64_t now_ns, bool idle) noexcept {
    constexpr std::uint64_t kGatherNs = 5'000'000;
    if (!outcomes_posted_ || (!idle && now_ns - outcomes_woken_ns_ < kGatherNs)) {
      return false;
    }
    outcomes_posted_ = false;
    outcomes_woken_ns_ = now_ns;
    return true;
  }
  // Control has other work waiting (flow events): the next flush() wakes it.
  void request_wake() noexcept { wake_control_ = true; }
  [[nodiscard]] bool next_command(ProbeCommand& command) noexcept { return commands_.pop(command); }
  // End of a round: wakes control if it has something to read. Makes a system call only then.
  void flush(int control_fd) noexcept;
  // Readable when control has sent a command.
  [[nodiscard]] int worker_fd() const noexcept { return worker_fd_; }
  void acknowledge() noexcept;

  // Control.
  // False: the queue is full.
  [[nodiscard]] bool send(const ProbeCommand& command) noexcept;
  [[nodiscard]] bool next_event(WorkerEvent& event) noexcept { return events_.pop(event); }
  [[nodiscard]] bool next_outcome(OpeningOutcome& outcome) noexcept { return outcomes_.pop(outcome); }
  [[nodiscard]] std::uint64_t outcomes_lost() const noexcept { return outcomes_lost_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }
  void wake() noexcept;

 private:
  static constexpr std::size_t kOutcomes = 4096;
  boost::lockfree::spsc_queue<ProbeCommand, boost::lockfree::capacity<1024>> commands_;
  boost::lockfree::spsc_queue<WorkerEvent, boost::lockfree::capacity<1024>> events_;
  boost::lockfree::spsc_queue<OpeningOutcome, boost::lockfree::capacity<kOutcomes>> outcomes_;
  std::atomic<std::uint64_t> lost_{0}, outcomes_lost_{0};
  bool wake_control_ = false, outcomes_posted_ = false;
  std::uint64_t outcomes_woken_ns_ = 0;
  int worker_fd_;
};

}  // namespace isthmus
