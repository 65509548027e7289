// One worker's share of an AF_XDP device: its receive queues' sockets behind one receive/transmit pair.
//
// All its sockets receive; the first sends, which keeps the order of a flow's packets. Threads: as DeviceQueue.
#pragma once

#include <memory>
#include <set>
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
  // Which of the device's rings are this queue's, and the device's open queues, to which it adds itself.
  struct Share {
    WorkerId worker;
    unsigned workers = 1;
    std::shared_ptr<std::set<AfXdpQueue*>> open;
  };
  AfXdpQueue(std::shared_ptr<SteerProgram> steer, std::shared_ptr<SharedUmem> umem, FramePool& pool,
             const Share& share);
  // Ends the heartbeats and closes the sockets; frames in their rings go back to the pool. What is handed down goes on.
  ~AfXdpQueue() override;

  // Opens the socket of one receive queue. The first one added must transmit. Control thread, before the worker runs.
  [[nodiscard]] Status add_socket(const XskSettings& settings, ZeroCopy zero_copy);
  // The same with a socket of another process. Packets are taken as soon as the program is on the interface, although
  // the worker is not there yet.
  [[nodiscard]] Status adopt_socket(const XskSettings& settings, ZeroCopy zero_copy, HandedSocket handed);

  // Closes all sockets; those added from now on belong to `steer`. Until one is added, nothing is received or sent.
  // Control thread, while no worker runs.
  void use(std::shared_ptr<SteerProgram> steer);
  // Control thread; also while the worker runs.
  [[nodiscard]] bool lost_interface() const noexcept;
  [[nodiscard]] const Share& share() const noexcept { return share_; }
  [[nodiscard]] FramePool& pool() const noexcept { return pool_; }

  unsigned receive(std::span<Frame> out) noexcept override;
  unsigned transmit(std::span<const Frame> frames) noexcept override;
  void flush() noexcept override;
  [[nodiscard]] HandedQueue describe() const override;
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return wait_fds_; }
  bool arm() noexcept override;
  [[nodiscard]] QueueCounters counters() const noexcept override;

 private:
  [[nodiscard]] SharedUmem::OnBound on_bound();
  void keep(std::unique_ptr<XskSocket> socket);
  void write_heartbeats() noexcept;
  void close_sockets();

  std::shared_ptr<SteerProgram> steer_;
  std::shared_ptr<SharedUmem> umem_;
  FramePool& pool_;
  Share share_;
  QueueCounterCells counters_;
  std::vector<std::unique_ptr<XskSocket>> sockets_;
  std::vector<isthmus_heartbeat*> heartbeats_;
  std::vector<int> wait_fds_;
  std::size_t first_ = 0;  // socket polled first in the next round, for fairness
};

}  // namespace isthmus
