// Counters of one worker: written only by that worker, with relaxed stores; read by control at any time.
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
  // Bytes of inner IP packets sent to the fabric side (without the tunnel header) and to the local side.
  Counter fabric_bytes, local_bytes;
  Counter hits, misses, revalidations;
  Counter icmp_sent, neighbour_waits;
  Counter probes_answered;
  Counter policy_audited;
  struct Drops {
    Counter packets, bytes;  // bytes: length of the frame when it was dropped
    void add(std::uint32_t length) noexcept {
      packets.add();
      bytes.add(length);
    }
  };
  std::array<Drops, kDropReasons> drops;
  // Of these, the packets that were dropped after parsing, by the side they arrived on.
  std::array<Drops, kDropReasons> drops_from_local, drops_from_fabric;

  void drop(DropReason reason, std::uint32_t length) noexcept { drops[static_cast<std::size_t>(reason)].add(length); }
};

}  // namespace isthmus
