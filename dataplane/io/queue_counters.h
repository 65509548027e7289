// The counters of one queue: written by its worker with relaxed stores (single writer), read by any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "dataplane/io/device.h"

namespace isthmus {

class CounterCell {
 public:
  void add(std::uint64_t n) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t read() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct QueueCounterCells {
  CounterCell rx_packets, rx_bytes, tx_packets, tx_bytes, tx_full, rx_no_frame, oversize;

  [[nodiscard]] QueueCounters read() const noexcept {
    QueueCounters c;
    c.rx_packets = rx_packets.read();
    c.rx_bytes = rx_bytes.read();
    c.tx_packets = tx_packets.read();
    c.tx_bytes = tx_bytes.read();
    c.tx_full = tx_full.read();
    c.rx_no_frame = rx_no_frame.read();
    c.oversize = oversize.read();
    return c;
  }
};

}  // namespace isthmus
