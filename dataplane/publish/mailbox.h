// Messages between one worker and control: commands down, events up, in single-producer single-consumer queues. When a
// queue is full, an event is dropped and counted, and a command is refused; nobody waits. File descriptors wake the
// other side, at most once per round.
#pragma once

#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdint>

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
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }
  void wake() noexcept;

 private:
  boost::lockfree::spsc_queue<ProbeCommand, boost::lockfree::capacity<1024>> commands_;
  boost::lockfree::spsc_queue<WorkerEvent, boost::lockfree::capacity<1024>> events_;
  std::atomic<std::uint64_t> lost_{0};
  bool wake_control_ = false;
  int worker_fd_;
};

}  // namespace isthmus
