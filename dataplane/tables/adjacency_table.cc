#include "dataplane/tables/adjacency_table.h"

#include <bit>
#include <cstring>

#include "dataplane/net/address_hash.h"

namespace isthmus {

AdjacencyTable::AdjacencyTable(std::uint32_t capacity)
    : capacity_(std::bit_ceil(capacity)),
      entries_(std::make_unique<Entry[]>(capacity_)),
      index_(std::make_unique<std::atomic<std::uint32_t>[]>(std::size_t{capacity_} * 2)) {}

void AdjacencyTable::set_device(DeviceId device, const MacAddress& mac, Bytes mtu) {
  std::memcpy(&device_mac_[device.value()], mac.bytes.data(), mac.bytes.size());
  device_mtu_[device.value()] = mtu;
}

std::size_t AdjacencyTable::bucket(DeviceId device, const IpAddress& next_hop) const noexcept {
  return address_hash(Realm{device.value()}, next_hop) & (std::size_t{capacity_} * 2 - 1);
}

AdjacencyId AdjacencyTable::find_or_create(DeviceId device, const IpAddress& next_hop, bool& created) noexcept {
  created = false;
  const std::size_t mask = std::size_t{capacity_} * 2 - 1;
  // Entries are never removed, so finding one needs no lock.
  std::size_t slot = bucket(device, next_hop);
  const auto search = [&]() noexcept -> std::uint32_t {
    for (;; slot = (slot + 1) & mask) {
      const std::uint32_t number = index_[slot].load(std::memory_order_acquire);
      if (number == 0 || (entries_[number].device() == device && entries_[number].next_hop == next_hop)) {
        return number;
      }
    }
  };
  if (const std::uint32_t number = search(); number != 0) {
    return AdjacencyId{number};
  }
  lock_.take();
  std::uint32_t number = search();
  const std::uint32_t used = used_.load(std::memory_order_relaxed);
  if (number == 0 && used == capacity_) {
    next_hops_refused_.add();
  } else if (number == 0) {
    number = used;
    used_.store(used + 1, std::memory_order_relaxed);
    entries_[number].rest.store(std::uint64_t{device.value()} << kDeviceShift, std::memory_order_relaxed);
    entries_[number].next_hop = next_hop;
    index_[slot].store(number, std::memory_order_release);
    created = true;
  }
  lock_.release();
  return AdjacencyId{number};
}

void AdjacencyTable::set_mac(AdjacencyId id, std::optional<MacAddress> mac) noexcept {
  if (id.value() == 0 || id.value() >= capacity_) {
    return;
  }
  Entry& entry = entries_[id.value()];
  const std::uint64_t device = std::uint64_t{entry.device().value()} << kDeviceShift;
  if (!mac) {
    entry.rest.store(device, std::memory_order_relaxed);
    return;
  }
  constexpr unsigned kDestinationBits = 48;
  std::uint64_t destination = 0;
  std::memcpy(&destination, mac->bytes.data(), mac->bytes.size());
  const std::uint64_t source = device_mac_[entry.device().value()];
  entry.first.store(destination | source << kDestinationBits, std::memory_order_relaxed);
  entry.rest.store(source >> (64 - kDestinationBits) | device | kResolved, std::memory_order_release);
}

}  // namespace isthmus
