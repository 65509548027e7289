#include "dataplane/tables/adjacency_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "dataplane/base/mix.h"

namespace isthmus {
namespace {

constexpr unsigned kMacBits = 48;
constexpr std::uint64_t kMacMask = (1ULL << kMacBits) - 1;

struct Locked {
  explicit Locked(SpinLock& l) noexcept : lock(l) { lock.take(); }
  ~Locked() { lock.release(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
  SpinLock& lock;
};

}  // namespace

AdjacencyTable::AdjacencyTable(Quiescence& quiescence, std::uint32_t capacity)
    : quiescence_(quiescence),
      capacity_(std::bit_ceil(capacity)),
      max_unclaimed_(std::max(capacity_ / 4, 1u)),
      secrets_{random_word(), random_word()},
      entries_(std::make_unique<Entry[]>(capacity_)),
      links_(std::make_unique<Link[]>(capacity_)),
      buckets_(std::make_unique<std::atomic<std::uint32_t>[]>(std::size_t{capacity_} * 2)),
      mirrors_(std::make_unique<isthmus_hop*[]>(capacity_)),
      free_(std::make_unique<std::uint32_t[]>(capacity_)) {
  for (std::uint32_t number = capacity_ - 1; number > 0; --number) {  // entry 0 is kNoAdjacency
    free_[free_count_++] = number;
  }
  for (Queue* queue : {&unclaimed_, &retired_}) {
    queue->items = std::make_unique<Queued[]>(capacity_);
    queue->mask = capacity_ - 1;
  }
}

// Control alone resolves entries, and only those that it has claimed: what is resolved here stays while it is
// rewritten.
bool AdjacencyTable::set_device(DeviceId device, const MacAddress& mac, Bytes mtu) noexcept {
  const bool other_mtu = device_mtu_[device.value()].exchange(mtu.value(), std::memory_order_relaxed) != mtu.value();
  std::uint64_t source = 0;
  std::memcpy(&source, mac.bytes.data(), mac.bytes.size());
  if (device_mac_[device.value()].exchange(source, std::memory_order_relaxed) == source) {
    return other_mtu;
  }
  for (std::uint32_t number = 1; number < capacity_; ++number) {
    const Entry& entry = entries_[number];
    if ((entry.rest.load(std::memory_order_relaxed) & kResolved) != 0 && links_[number].device == device) {
      const Locked locked(lock_);
      write(number, entry.first.load(std::memory_order_relaxed) & kMacMask, source);
    }
  }
  return true;
}

// Each address as loaded from its six bytes.
void AdjacencyTable::write(std::uint32_t number, std::uint64_t destination, std::uint64_t source) noexcept {
  Entry& entry = entries_[number];
  entry.first.store(destination | source << kMacBits, std::memory_order_relaxed);
  entry.rest.store(source >> (64 - kMacBits) | kResolved, std::memory_order_release);
  reflect(number);
}

// In the two words in which an entry has them: XDP reads what a worker would.
void AdjacencyTable::reflect(std::uint32_t number) noexcept {
  static_assert(sizeof(isthmus_hop) == 2 * sizeof(std::uint64_t) && offsetof(isthmus_hop, resolved) == 12);
  auto* const bytes = reinterpret_cast<std::byte*>(mirrors_[number]);
  if (bytes == nullptr) {
    return;
  }
  const std::uint64_t rest = entries_[number].rest.load(std::memory_order_relaxed);
  const std::uint64_t resolved = (rest & kResolved) != 0 ? 1 : 0;
  auto* const words = reinterpret_cast<std::uint64_t*>(bytes);
  __atomic_store_n(words, entries_[number].first.load(std::memory_order_relaxed), __ATOMIC_RELAXED);
  __atomic_store_n(words + 1, static_cast<std::uint32_t>(rest) | resolved << 32, __ATOMIC_RELEASE);
}

void AdjacencyTable::mirror(AdjacencyId id, std::uint32_t incarnation, isthmus_hop* hop) noexcept {
  const Locked locked(lock_);
  const std::uint32_t number = id.value();
  if (links_[number].incarnation.load(std::memory_order_relaxed) == incarnation) {
    mirrors_[number] = hop;
    reflect(number);
  }
}

std::atomic<std::uint32_t>& AdjacencyTable::bucket(DeviceId device, const IpAddress& next_hop) const noexcept {
  std::uint64_t w[2];
  std::memcpy(w, next_hop.bytes().data(), sizeof w);
  const std::uint64_t address = folded_product(w[0] ^ secrets_[0], w[1] ^ secrets_[1]);
  const std::uint64_t hash = folded_product(address + device.value(), 0xff51afd7ed558ccdULL);
  return buckets_[hash & (std::size_t{capacity_} * 2 - 1)];
}

AdjacencyId AdjacencyTable::find(DeviceId device, const IpAddress& next_hop) const noexcept {
  std::uint32_t number = bucket(device, next_hop).load(std::memory_order_acquire);
  while (number != 0 && (links_[number].device != device || entries_[number].next_hop != next_hop)) {
    number = links_[number].next.load(std::memory_order_acquire);
  }
  if (number != 0 && !links_[number].used.load(std::memory_order_relaxed)) {
    links_[number].used.store(true, std::memory_order_relaxed);
  }
  return AdjacencyId{number};
}

bool AdjacencyTable::knows(const IpAddress& address) const noexcept {
  for (std::uint32_t device = 0; device < device_mtu_.size(); ++device) {
    const DeviceId id{static_cast<std::uint8_t>(device)};
    if (mtu(id).value() == 0) {  // there is none
      continue;
    }
    std::uint32_t number = bucket(id, address).load(std::memory_order_acquire);
    while (number != 0 && (links_[number].device != id || entries_[number].next_hop != address)) {
      number = links_[number].next.load(std::memory_order_acquire);
    }
    if (number != 0) {
      return true;
    }
  }
  return false;
}

AdjacencyId AdjacencyTable::find_or_create(DeviceId device, const IpAddress& next_hop, Seconds now,
                                           bool& created) noexcept {
  created = false;
  if (const AdjacencyId id = find(device, next_hop); id != kNoAdjacency) {
    return id;
  }
  const Locked locked(lock_);
  if (const AdjacencyId id = find(device, next_hop); id != kNoAdjacency) {
    return id;
  }
  while (unclaimed_.size() >= max_unclaimed_) {
    drop_oldest();
  }
  const std::uint32_t number = create(device, next_hop);
  if (number != 0) {
    unclaimed_.push({number, links_[number].incarnation.load(std::memory_order_relaxed), now, 0});
    created = true;
  }
  return AdjacencyId{number};
}

AdjacencyId AdjacencyTable::claim(DeviceId device, const IpAddress& next_hop) noexcept {
  const Locked locked(lock_);
  std::uint32_t number = find(device, next_hop).value();
  if (number == 0) {
    number = create(device, next_hop);
  }
  links_[number].claimed = number != 0;
  return AdjacencyId{number};
}

void AdjacencyTable::release(AdjacencyId id) noexcept {
  const Locked locked(lock_);
  if (id.value() != 0 && id.value() < capacity_ && links_[id.value()].claimed) {
    retire(id.value());
  }
}

void AdjacencyTable::give_back(AdjacencyId id) noexcept {
  const Locked locked(lock_);
  const bool in_use = (links_[id.value()].incarnation.load(std::memory_order_relaxed) & 1) != 0;
  if (in_use && !links_[id.value()].claimed) {
    retire(id.value());
  }
}

void AdjacencyTable::age(Seconds now, Seconds limit) noexcept {
  const Locked locked(lock_);
  while (unclaimed_.size() != 0 && now.value() - unclaimed_.front().since.value() >= limit.value()) {
    drop_oldest();
  }
}

bool AdjacencyTable::take_used(AdjacencyId id) noexcept {
  const bool used = links_[id.value()].used.exchange(false, std::memory_order_seq_cst);
  released_(entries_[id.value()].next_hop);
  return used;
}

AdjacencyTable::Counts AdjacencyTable::counts() const noexcept {
  const Locked locked(lock_);
  return {capacity_ - 1 - free_count_ - retired_.size(), unclaimed_.size(), capacity_ - 1, evicted_, refused_};
}

std::uint32_t AdjacencyTable::create(DeviceId device, const IpAddress& next_hop) noexcept {
  const std::uint32_t number = take_free();
  if (number == 0) {
    ++refused_;
    return 0;
  }
  Link& link = links_[number];
  entries_[number].rest.store(0, std::memory_order_relaxed);
  entries_[number].next_hop = next_hop;
  link.device = device;
  link.claimed = false;
  link.used.store(true, std::memory_order_relaxed);
  std::atomic<std::uint32_t>& head = bucket(device, next_hop);
  link.next.store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
  link.incarnation.fetch_add(1, std::memory_order_release);
  head.store(number, std::memory_order_release);
  return number;
}

std::uint32_t AdjacencyTable::take_free() noexcept {
  while (retired_.size() != 0 && quiescence_.passed(retired_.front().ticket)) {
    free_[free_count_++] = retired_.front().number;
    ++retired_.first;
  }
  return free_count_ == 0 ? 0 : free_[--free_count_];
}

// A worker in the middle of the chain goes on from here: `next` stays until the entry is used again.
void AdjacencyTable::retire(std::uint32_t number) noexcept {
  Link& link = links_[number];
  std::atomic<std::uint32_t>* before = &bucket(link.device, entries_[number].next_hop);
  while (before->load(std::memory_order_relaxed) != number) {
    before = &links_[before->load(std::memory_order_relaxed)].next;
  }
  before->store(link.next.load(std::memory_order_relaxed), std::memory_order_release);
  entries_[number].rest.store(0, std::memory_order_relaxed);
  reflect(number);
  mirrors_[number] = nullptr;
  link.claimed = false;
  link.incarnation.fetch_add(1, std::memory_order_release);
  released_(entries_[number].next_hop);
  retired_.push({number, 0, {}, quiescence_.advance()});
}

void AdjacencyTable::drop_oldest() noexcept {
  const Queued oldest = unclaimed_.front();
  ++unclaimed_.first;
  const bool same = links_[oldest.number].incarnation.load(std::memory_order_relaxed) == oldest.incarnation;
  if (same && !links_[oldest.number].claimed) {
    retire(oldest.number);
    ++evicted_;
  }
}

void AdjacencyTable::set_mac(AdjacencyId id, std::optional<MacAddress> mac) noexcept {
  if (id.value() == 0 || id.value() >= capacity_) {
    return;
  }
  const Locked locked(lock_);
  if (!mac) {
    entries_[id.value()].rest.store(0, std::memory_order_relaxed);
    reflect(id.value());
    return;
  }
  std::uint64_t destination = 0;
  std::memcpy(&destination, mac->bytes.data(), mac->bytes.size());
  write(id.value(), destination, this->mac(device(id)));
}

}  // namespace isthmus
