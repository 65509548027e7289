// Next hops: device, our MAC, the neighbour's MAC.
//
// Control claims the next hops of peers, of routes and of the neighbours it has the kernel resolve; they stay until it
// releases them. A worker makes one for an on-link destination whose connection it opens. Until control claims that, it
// is one of at most a quarter of the table, of which the oldest makes room: a scan of a local prefix costs other scans
// their entries, and leaves room for peers and pods.
//
// An entry may be freed while direction blocks name it. It is unlinked first; then on_release() makes every decision
// that leads to its address invalid; and it is used again only after a grace period, when no worker can hold its number
// but in a WaitingFrame, which therefore keeps the entry's incarnation too. The index is keyed with a secret.
//
// Threads: find, knows, resolved, write_addresses: workers in their read section, lock-free; find_or_create and
// give_back: workers, slow path, under a spin lock; claim, release, set_mac, set_device, age: control; mirror: the
// hand-down thread. Failure: kNoAdjacency when no entry is free. Nothing is allocated after construction.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "dataplane/base/quiescence.h"
#include "dataplane/base/spin_lock.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"
#include "xdp/abi.h"

namespace isthmus {

class AdjacencyTable {
 public:
  struct Counts {
    std::uint32_t now = 0, unclaimed = 0, capacity = 0;
    std::uint64_t evicted = 0;  // unclaimed ones, that made room for others or that nobody claimed in time
    std::uint64_t refused = 0;  // calls that found the table full
  };

  explicit AdjacencyTable(Quiescence& quiescence, std::uint32_t capacity = 65536);

  // A device's own MAC and MTU, in add order; also while workers run: a frame that leaves at that moment may have a
  // source address that is half old. True if either differs from before: decisions that were made with the old ones
  // have to be made again.
  bool set_device(DeviceId device, const MacAddress& mac, Bytes mtu) noexcept;
  // Before workers start: what makes the decisions that lead to an address invalid.
  void on_release(std::function<void(const IpAddress&)> hook) { released_ = std::move(hook); }

  [[nodiscard]] AdjacencyId claim(DeviceId device, const IpAddress& next_hop) noexcept;
  // No snapshot that workers may still load, and no peer, may refer to it any more.
  void release(AdjacencyId id) noexcept;
  void set_mac(AdjacencyId id, std::optional<MacAddress> mac) noexcept;
  // From now on the record, one of XDP's, has what a frame to this next hop has, until the entry is freed: it then says
  // that the next hop is not resolved, and is left alone. nullptr: no record any more. Nothing, where the entry is not
  // of that incarnation.
  void mirror(AdjacencyId id, std::uint32_t incarnation, isthmus_hop* hop) noexcept;
  // Whether a decision took it since the last call. Makes those that did before invalid, so that they take it again.
  [[nodiscard]] bool take_used(AdjacencyId id) noexcept;
  // Frees what workers made at least `limit` ago and control did not claim.
  void age(Seconds now, Seconds limit) noexcept;
  [[nodiscard]] Counts counts() const noexcept;

  // kNoAdjacency: none.
  [[nodiscard]] AdjacencyId find(DeviceId device, const IpAddress& next_hop) const noexcept;
  // Whether it is a next hop of any device. Unlike find(), no use of it.
  [[nodiscard]] bool knows(const IpAddress& address) const noexcept;
  // `created`: the entry is new and has to be resolved.
  [[nodiscard]] AdjacencyId find_or_create(DeviceId device, const IpAddress& next_hop, Seconds now,
                                           bool& created) noexcept;
  // What find_or_create() created is not needed after all.
  void give_back(AdjacencyId id) noexcept;

  [[nodiscard]] bool resolved(AdjacencyId id) const noexcept {
    return (entries_[id.value()].rest.load(std::memory_order_relaxed) & kResolved) != 0;
  }
  // Changes when the entry is freed, and again when it is used for another next hop.
  [[nodiscard]] std::uint32_t incarnation(AdjacencyId id) const noexcept {
    return links_[id.value()].incarnation.load(std::memory_order_acquire);
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
  [[nodiscard]] DeviceId device(AdjacencyId id) const noexcept { return links_[id.value()].device; }
  [[nodiscard]] IpAddress next_hop(AdjacencyId id) const noexcept { return entries_[id.value()].next_hop; }
  // A device's own MAC as its six bytes lie in a frame, and zeros behind them.
  [[nodiscard]] std::uint64_t mac(DeviceId device) const noexcept {
    return device_mac_[device.value()].load(std::memory_order_relaxed);
  }
  [[nodiscard]] Bytes mtu(DeviceId device) const noexcept {
    return Bytes{device_mtu_[device.value()].load(std::memory_order_relaxed)};
  }

 private:
  static constexpr std::uint64_t kResolved = 1ULL << 63;
  struct Entry {
    // The two addresses as they lie in a frame: the first eight bytes; the other four, and kResolved.
    std::atomic<std::uint64_t> first{0};
    std::atomic<std::uint64_t> rest{0};
    IpAddress next_hop;
  };
  static_assert(sizeof(Entry) == 32);
  // What forwarding a packet does not read.
  struct Link {
    std::atomic<std::uint32_t> next{0};         // in the chain of its bucket; 0: the last
    std::atomic<std::uint32_t> incarnation{0};  // odd: in use
    DeviceId device;
    bool claimed = false;  // under lock_
    std::atomic<bool> used{false};
  };
  // A queue of entry numbers, first in, first out; room for all of them.
  struct Queued {
    std::uint32_t number = 0, incarnation = 0;
    Seconds since;
    std::uint64_t ticket = 0;
  };
  struct Queue {
    std::unique_ptr<Queued[]> items;
    std::uint32_t mask = 0;
    std::uint32_t first = 0, end = 0;  // modulo 2^32
    [[nodiscard]] std::uint32_t size() const noexcept { return end - first; }
    [[nodiscard]] Queued& front() noexcept { return items[first & mask]; }
    void push(const Queued& item) noexcept { items[end++ & mask] = item; }
  };

  [[nodiscard]] std::atomic<std::uint32_t>& bucket(DeviceId device, const IpAddress& next_hop) const noexcept;
  // The six below hold lock_.
  void write(std::uint32_t number, std::uint64_t destination, std::uint64_t source) noexcept;
  void reflect(std::uint32_t number) noexcept;
  [[nodiscard]] std::uint32_t create(DeviceId device, const IpAddress& next_hop) noexcept;
  [[nodiscard]] std::uint32_t take_free() noexcept;
  void retire(std::uint32_t number) noexcept;
  // The oldest unclaimed entry is freed, if it still is that.
  void drop_oldest() noexcept;

  Quiescence& quiescence_;
  std::uint32_t capacity_;
  std::uint32_t max_unclaimed_;
  std::uint64_t secrets_[2];
  std::function<void(const IpAddress&)> released_ = [](const IpAddress&) {};
  mutable SpinLock lock_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<Link[]> links_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> buckets_;  // twice the capacity: the first of each chain
  // Under lock_.
  std::unique_ptr<isthmus_hop*[]> mirrors_;  // by number
  std::unique_ptr<std::uint32_t[]> free_;
  std::uint32_t free_count_ = 0;
  Queue unclaimed_, retired_;
  std::uint64_t evicted_ = 0, refused_ = 0;
  std::array<std::atomic<std::uint64_t>, 256> device_mac_{};
  std::array<std::atomic<std::uint32_t>, 256> device_mtu_{};
};

}  // namespace isthmus
