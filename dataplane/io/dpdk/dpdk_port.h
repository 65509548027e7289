// A port of DPDK's: a device that a driver has taken, until it is closed. Its device and the queues of it share it: the
// first of them that ends closes it, since its rings hold frames of every worker's pool. Thread: control, while no
// worker runs.
#pragma once

#include <rte_dev.h>
#include <rte_ethdev.h>

#include <cstdint>

namespace isthmus {

class DpdkPort {
 public:
  DpdkPort(std::uint16_t number, rte_device* device) noexcept : number_(number), device_(device) {}
  ~DpdkPort() { close(); }
  DpdkPort(const DpdkPort&) = delete;
  DpdkPort& operator=(const DpdkPort&) = delete;

  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }
  void close() noexcept {
    if (open_) {
      open_ = false;
      static_cast<void>(rte_eth_dev_stop(number_));
      static_cast<void>(rte_eth_dev_close(number_));
      static_cast<void>(rte_dev_remove(device_));
    }
  }

 private:
  std::uint16_t number_;
  rte_device* device_;
  bool open_ = true;
};

}  // namespace isthmus
