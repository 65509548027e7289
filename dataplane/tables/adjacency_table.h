// Next hops: device, our MAC, the neighbour's MAC. Entries are created on demand (by control at publish, by a worker
// for an on-link destination) and never removed; control updates their MAC in place. Threads: find_or_create any, under
// a spin lock (slow path only); set_mac control; everything else lock-free, any. Failure: kNoAdjacency when the table
// is full.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "dataplane/base/spin_lock.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"
#include "dataplane/stats/counter.h"

namespace isthmus {

class AdjacencyTable {
 public:
  explicit AdjacencyTable(std::uint32_t capacity = 65536);

  // Before workers start: a device's own MAC and MTU, in add order.
  void set_device(DeviceId device, const MacAddress& mac, Bytes mtu);

  // `created`: the entry is new and has to be resolved.
  [[nodiscard]] AdjacencyId find_or_create(DeviceId device, const IpAddress& next_hop, bool& created) noexcept;
  void set_mac(AdjacencyId id, std::optional<MacAddress> mac) noexcept;

  [[nodiscard]] bool resolved(AdjacencyId id) const noexcept {
    return (entries_[id.value()].rest.load(std::memory_order_relaxed) & kResolved) != 0;
  }
  // Writes the two addresses of the Ethernet header at `ethernet`. Returns false and writes nothing while unresolved.
  [[nodiscard]] bool write_addresses(AdjacencyId id, std::uint8_t* ethernet) const noexcept {
    const Entry& entry = entries_[id.value()];
    const std::uint64_t rest = entry.rest.load(std::memory_order_acquire);
    if ((rest & kResolved) == 0) [[unlikely]] {
      return false;
    }
    const std::uint64_t first = entry.first.load(std::memory_order_relaxed);
    const auto last = static_cast<std::uint32_t>(rest);
    std::memcpy(ethernet, &first, sizeof first);
    std::memcpy(ethernet + sizeof first, &last, sizeof last);
    return true;
  }
  [[nodiscard]] DeviceId device(AdjacencyId id) const noexcept { return entries_[id.value()].device(); }
  [[nodiscard]] IpAddress next_hop(AdjacencyId id) const noexcept { return entries_[id.value()].next_hop; }
  // For observers, any thread. capacity(): how many size() can reach; refused(): calls that found the table full.
  [[nodiscard]] std::uint32_t size() const noexcept { return used_.load(std::memory_order_relaxed) - 1; }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_ - 1; }
  [[nodiscard]] std::uint64_t refused() const noexcept { return next_hops_refused_.get(); }
  [[nodiscard]] Bytes mtu(DeviceId device) const noexcept { return device_mtu_[device.value()]; }

 private:
  static constexpr std::uint64_t kResolved = 1ULL << 63;
  // `rest` also holds the device, which is written before the entry can be found and stays.
  static constexpr unsigned kDeviceShift = 32;
  struct Entry {
    // The two addresses as they lie in a frame: the first eight bytes; the other four, the device, and kResolved.
    std::atomic<std::uint64_t> first{0};
    std::atomic<std::uint64_t> rest{0};
    IpAddress next_hop;
    [[nodiscard]] DeviceId device() const noexcept {
      return DeviceId{static_cast<std::uint8_t>(rest.load(std::memory_order_relaxed) >> kDeviceShift)};
    }
  };
  static_assert(sizeof(Entry) == 32);
  [[nodiscard]] std::size_t bucket(DeviceId device, const IpAddress& next_hop) const noexcept;

  std::uint32_t capacity_;
  std::atomic<std::uint32_t> used_{1};  // written under lock_; entry 0 is kNoAdjacency
  Counter next_hops_refused_;           // written under lock_
  SpinLock lock_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> index_;  // twice the capacity, open addressing, insert only
  std::array<std::uint64_t, 256> device_mac_{};          // 6 bytes as loaded
  std::array<Bytes, 256> device_mtu_{};
};

}  // namespace isthmus
