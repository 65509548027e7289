// One worker's queue of a DPDK device: bursts to and from a driver, without a copy where the buffers are the pool's
// own.
//
// Received buffers of other mempools (rings, devices that share a driver's memory) and frames that are longer than a
// chunk are copied, and counted. Threads: the worker; counters() any.
#pragma once

#include <memory>
#include <utility>

#include "dataplane/io/device.h"
#include "dataplane/io/dpdk/dpdk_port.h"
#include "dataplane/io/dpdk/frame_mempool.h"
#include "dataplane/io/queue_counters.h"
#include "dataplane/io/unique_fd.h"

namespace isthmus {

class DpdkQueue final : public DeviceQueue {
 public:
  struct Setup {
    std::shared_ptr<DpdkPort> port;
    std::uint16_t queue = 0;
    bool receives = true;  // a device may have fewer receive queues than there are workers
    std::shared_ptr<FrameMempool> mempool;
  };
  explicit DpdkQueue(Setup setup)
      : setup_(std::move(setup)), port_(setup_.port->number()), pool_(setup_.mempool->frames()) {}
  ~DpdkQueue() override { setup_.port->close(); }
  DpdkQueue(const DpdkQueue&) = delete;
  DpdkQueue& operator=(const DpdkQueue&) = delete;

  // Asks the driver for a descriptor that is readable when frames arrive. Without one, the queue is polled.
  void use_interrupts() noexcept;

  unsigned receive(std::span<Frame> out) noexcept override;
  unsigned transmit(std::span<const Frame> frames) noexcept override;
  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override;
  [[nodiscard]] std::uint32_t longest_sleep_us() const noexcept override { return epoll_.valid() ? 0 : kPollEveryUs; }
  bool arm() noexcept override;
  [[nodiscard]] QueueCounters counters() const noexcept override { return counters_.read(); }

 private:
  // An idle worker looks that often at a queue that has no descriptor.
  static constexpr std::uint32_t kPollEveryUs = 100;

  [[nodiscard]] bool adopt(rte_mbuf* mbuf, Frame& frame) noexcept;
  [[nodiscard]] bool copy_in(rte_mbuf* mbuf, Frame& frame) noexcept;
  [[nodiscard]] unsigned send(std::span<const Frame> frames) noexcept;
  [[nodiscard]] bool send_long(const Frame& frame) noexcept;

  Setup setup_;
  std::uint16_t port_;
  FramePool& pool_;
  QueueCounterCells counters_;
  UniqueFd epoll_;
  int epoll_number_ = -1;  // its descriptor, as wait_fds() gives it
};

}  // namespace isthmus
