// A port of DPDK's: a device that a driver has taken, until it is closed. Its device and the queues of it share it: the
// first of them that ends closes it, since its rings hold frames of every worker's pool. Its NIC may be taken away:
// then it is *gone*, and stays so. Thread: control, while no worker runs; gone() any.
#pragma once

#include <rte_dev.h>
#include <rte_ethdev.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace isthmus {

class DpdkPort {
 public:
  DpdkPort(std::uint16_t number, rte_device* device) noexcept : number_(number), device_(device) {
    static_cast<void>(rte_eth_dev_callback_register(number, RTE_ETH_EVENT_INTR_RMV, on_removal, this));
  }
  ~DpdkPort() { close(); }
  DpdkPort(const DpdkPort&) = delete;
  DpdkPort& operator=(const DpdkPort&) = delete;

  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }
  [[nodiscard]] bool gone() const noexcept { return gone_.load(std::memory_order_relaxed); }
  void close() noexcept {
    if (open_) {
      open_ = false;
      gone_ = true;
      while (rte_eth_dev_callback_unregister(number_, RTE_ETH_EVENT_INTR_RMV, on_removal, this) == -EAGAIN) {
      }
      static_cast<void>(rte_eth_dev_stop(number_));
      static_cast<void>(rte_eth_dev_close(number_));
      static_cast<void>(rte_dev_remove(device_));
    }
  }

 private:
  // A thread of DPDK's.
  static int on_removal(std::uint16_t /*port*/, rte_eth_event_type /*event*/, void* port, void* /*result*/) noexcept {
    static_cast<DpdkPort*>(port)->gone_.store(true, std::memory_order_relaxed);
    return 0;
  }

  std::uint16_t number_;
  rte_device* device_;
  bool open_ = true;
  std::atomic<bool> gone_{false};
};

}  // namespace isthmus
