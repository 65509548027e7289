// Counters of one worker: written by that worker only with relaxed stores, read by control at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/stats/drop_reason.h"

namespace isthmus {

// A 64-bit count with one writer; `add` is a plain load, add and store.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct alignas(64) WorkerCounters {
  Counter rx_packets, tx_packets;
  Counter encapsulated, decapsulated;
  // Of the IP packets that the path has put into tunnels, and sent to the local side.
  Counter fabric_bytes, local_bytes;
  Counter hits, misses, readmissions;
  Counter icmp_sent, neighbour_waits;
  Counter probes_answered;
  Counter policy_audited;
  struct Drops {
    Counter packets, bytes;  // bytes of their frames, as they were when they died
    void add(std::uint32_t length) noexcept {
      packets.add();
      bytes.add(length);
    }
  };
  std::array<Drops, kDropReasons> drops;
  // Of them, those that died at the end of the path after they were read, by the side they came from.
  std::array<Drops, kDropReasons> drops_from_local, drops_from_fabric;

  void drop(DropReason reason, std::uint32_t length) noexcept { drops[static_cast<std::size_t>(reason)].add(length); }
};

}  // namespace isthmus
