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
    return (entries_[id.value()].mac.load(std::memory_order_relaxed) & kResolved) != 0;
  }
  // Writes the two addresses of an Ethernet header whose type (14th byte) is in place: `ethernet` has 14 bytes.
  // `device` is the next hop's. Returns false and writes nothing while unresolved.
  [[nodiscard]] bool write_addresses(AdjacencyId id, DeviceId device, std::uint8_t* ethernet) const noexcept {
    const std::uint64_t destination = entries_[id.value()].mac.load(std::memory_order_relaxed);
    if ((destination & kResolved) == 0) [[unlikely]] {
      return false;
    }
    const std::uint64_t source = device_mac_[device.value()];
    const auto last = static_cast<std::uint32_t>(source >> 16);
    const std::uint64_t first = (destination & kMacMask) | source << 48;
    std::memcpy(ethernet, &first, sizeof first);
    std::memcpy(ethernet + 8, &last, sizeof last);
    return true;
  }
  bool write_addresses(AdjacencyId id, std::uint8_t* ethernet) const noexcept {
    return write_addresses(id, device(id), ethernet);
  }
  [[nodiscard]] DeviceId device(AdjacencyId id) const noexcept { return entries_[id.value()].device; }
  [[nodiscard]] IpAddress next_hop(AdjacencyId id) const noexcept { return entries_[id.value()].next_hop; }
  [[nodiscard]] Bytes mtu(DeviceId device) const noexcept { return device_mtu_[device.value()]; }

 private:
  static constexpr std::uint64_t kResolved = 1ULL << 48, kMacMask = kResolved - 1;
  struct Entry {
    std::atomic<std::uint64_t> mac{0};  // 6 bytes as loaded, and kResolved
    IpAddress next_hop;
    DeviceId device;
  };
  [[nodiscard]] std::size_t bucket(DeviceId device, const IpAddress& next_hop) const noexcept;

  std::uint32_t capacity_;
  std::uint32_t used_ = 1;  // under lock_; entry 0 is kNoAdjacency
  SpinLock lock_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> index_;  // twice the capacity, open addressing, insert only
  std::array<std::uint64_t, 256> device_mac_{};          // 6 bytes as loaded
  std::array<Bytes, 256> device_mtu_{};
};

}  // namespace isthmus
