// One worker's mail with control: commands down, events up, by single-producer single-consumer queues. A full queue
// costs the message and counts it; nobody ever waits. The descriptors wake the other side once per round.
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
};

struct WorkerEvent {
  enum class Kind : std::uint8_t { kNeighbourWanted, kProbeAnswer } kind = Kind::kNeighbourWanted;
  DeviceId device;
  IpAddress address;
  PeerId peer;
  std::uint32_t sequence = 0;
};

class Mailbox {
 public:
  Mailbox();
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Worker.
  void tell(const WorkerEvent& event) noexcept {
    if (events_.push(event)) {
      news_ = true;
    } else {
      lost_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  // Something else than mail waits for control: the next post() wakes it.
  void announce() noexcept { news_ = true; }
  [[nodiscard]] bool next_command(ProbeCommand& command) noexcept { return commands_.pop(command); }
  // End of a round: wakes control if there is news. The one system call, and only then.
  void post(int control_fd) noexcept;
  // Readable when control has sent a command.
  [[nodiscard]] int worker_fd() const noexcept { return worker_fd_; }
  void acknowledge() noexcept;

  // Control.
  bool send(const ProbeCommand& command) noexcept;
  [[nodiscard]] bool next_event(WorkerEvent& event) noexcept { return events_.pop(event); }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }
  void wake() noexcept;

 private:
  boost::lockfree::spsc_queue<ProbeCommand, boost::lockfree::capacity<1024>> commands_;
  boost::lockfree::spsc_queue<WorkerEvent, boost::lockfree::capacity<1024>> events_;
  std::atomic<std::uint64_t> lost_{0};
  bool news_ = false;
  int worker_fd_;
};

}  // namespace isthmus
