// One worker's queue of a DPDK device: bursts to and from a driver, without a copy where the buffers are the pool's
// own.
//
// Received buffers of other mempools (rings, devices that share a driver's memory) and frames that are longer than a
// chunk are copied, and counted. Threads: the worker; counters() any.
#pragma once

#include <array>
#include <memory>
#include <utility>

#include "dataplane/io/device.h"
#include "dataplane/io/dpdk/dpdk_port.h"
#include "dataplane/io/dpdk/frame_mempool.h"
#include "dataplane/io/queue_counters.h"
#include "dataplane/io/twin/twin.h"
#include "dataplane/io/unique_fd.h"

namespace isthmus {

class DpdkQueue final : public DeviceQueue {
 public:
  struct Setup {
    std::shared_ptr<DpdkPort> port;
    std::uint16_t queue = 0;
    bool receives = true;  // a device may have fewer receive queues than there are workers
    std::shared_ptr<FrameMempool> mempool;
    bool comes_and_goes = false;  // the driver starts and stops queues while it runs, on another thread
    std::shared_ptr<Twin> twin;   // nullptr: there is none
    TwinQueue* host = nullptr;    // the worker's of it
  };
  explicit DpdkQueue(Setup setup)
      : setup_(std::move(setup)), port_(setup_.port->number()), pool_(setup_.mempool->frames()) {}
  ~DpdkQueue() override { setup_.port->close(); }
  DpdkQueue(const DpdkQueue&) = delete;
  DpdkQueue& operator=(const DpdkQueue&) = delete;

  // The device has come back as another port. Control thread, while no worker runs.
  void rebind(std::shared_ptr<DpdkPort> port) noexcept {
    setup_.port = std::move(port);
    port_ = setup_.port->number();
  }
  [[nodiscard]] std::uint16_t number() const noexcept { return setup_.queue; }
  [[nodiscard]] const FrameMempool& mempool() const noexcept { return *setup_.mempool; }
  // Of a device that is started: asks the driver for a descriptor that is readable when frames arrive. Without one, the
  // queue is polled.
  void use_interrupts() noexcept;

  unsigned receive(std::span<Frame> out) noexcept override;
  unsigned transmit(std::span<const Frame> frames) noexcept override;
  void to_host(std::span<const Frame> frames) noexcept override { setup_.host->give(frames, pool_); }
  // Sends what the kernel has for the device, too.
  void flush() noexcept override;
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {wait_fds_.data(), wait_count_}; }
  [[nodiscard]] std::uint32_t longest_sleep_us() const noexcept override {
    return setup_.receives && !epoll_.valid() ? kPollEveryUs : 0;
  }
  bool arm() noexcept override;
  [[nodiscard]] QueueCounters counters() const noexcept override;

 private:
  // Frames of the kernel that are sent at once: the fleet's do not wait for more.
  static constexpr unsigned kHostBurst = 32;
  // An idle worker looks that often at a queue that has no descriptor.
  static constexpr std::uint32_t kPollEveryUs = 100;

  [[nodiscard]] bool takes_from_host() const noexcept { return setup_.host != nullptr && setup_.host->takes(); }
  [[nodiscard]] bool adopt(rte_mbuf* mbuf, Frame& frame) noexcept;
  [[nodiscard]] bool copy_in(rte_mbuf* mbuf, Frame& frame) noexcept;
  [[nodiscard]] unsigned send(std::span<const Frame> frames) noexcept;
  enum class Long : std::uint8_t { kSent, kRefused, kNoRoom };  // kNoRoom: the frame is still the caller's
  [[nodiscard]] Long send_long(const Frame& frame) noexcept;
  struct Sent {
    unsigned taken = 0;  // frames that are not the caller's any more
    std::uint64_t packets = 0, bytes = 0;
  };
  [[nodiscard]] Sent send_any(std::span<const Frame> frames) noexcept;

  Setup setup_;
  std::uint16_t port_;
  FramePool& pool_;
  QueueCounterCells counters_;
  UniqueFd epoll_;                 // of the driver's descriptor; none: it has none
  std::array<int, 2> wait_fds_{};  // that, and the twin's
  unsigned wait_count_ = 0;
};

}  // namespace isthmus
