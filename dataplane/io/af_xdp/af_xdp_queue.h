// One worker's share of an AF_XDP device: its receive queues' sockets behind one receive/transmit pair.
//
// All its sockets receive; the first sends, which keeps the order of a flow's packets. Threads: as DeviceQueue.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "dataplane/io/af_xdp/shared_umem.h"
#include "dataplane/io/af_xdp/xsk_socket.h"
#include "dataplane/io/device.h"
#include "dataplane/io/queue_counters.h"
#include "xdp/loader/steer_program.h"

namespace isthmus {

class AfXdpQueue final : public DeviceQueue {
 public:
  AfXdpQueue(std::shared_ptr<SteerProgram> steer, std::shared_ptr<SharedUmem> umem, FramePool& pool);
  // Clears the heartbeats and closes the sockets; frames in their rings go back to the pool.
  ~AfXdpQueue() override;

  // Opens the socket of one receive queue. The first one added must transmit. Control thread, before the worker runs.
  [[nodiscard]] Status add_socket(const XskSettings& settings, ZeroCopy zero_copy);

  unsigned receive(std::span<Frame> out) noexcept override;
  unsigned transmit(std::span<const Frame> frames) noexcept override;
  void flush() noexcept override;
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return wait_fds_; }
  bool arm() noexcept override;
  [[nodiscard]] QueueCounters counters() const noexcept override;

 private:
  void write_heartbeats() noexcept;

  std::shared_ptr<SteerProgram> steer_;
  std::shared_ptr<SharedUmem> umem_;
  FramePool& pool_;
  QueueCounterCells counters_;
  std::vector<std::unique_ptr<XskSocket>> sockets_;
  std::vector<isthmus_heartbeat*> heartbeats_;
  std::vector<int> wait_fds_;
  std::size_t first_ = 0;  // socket polled first in the next round, for fairness
};

}  // namespace isthmus
