// The endpoint table: (realm, address) → identity, cluster, node. Up to millions of entries under constant churn.
// One writer (control) and lock-free readers (workers, at admission). Updates are in place and cost the same at any
// size; only doubling the bucket array relinks all entries, while readers continue.
// Memory: 48 bytes per endpoint plus 8 to 16 bytes of buckets. A removed entry is re-used after a grace period.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "dataplane/api/tables.h"
#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/quiescence.h"

namespace isthmus {

// The result of a lookup. `previous` is valid until `grace_until` (seconds of the flow clock).
struct EndpointInfo {
  ClusterId cluster;
  Identity identity;
  Identity previous;
  Seconds grace_until;
  PeerId node;
};

enum class EndpointUpdate : std::uint8_t {
  kUnchanged,
  kChanged,
  kFull,  // a new endpoint, but every entry is in use: the table does not have it
};

class EndpointTable {
 public:
  static constexpr std::uint32_t kMaxEntries = 1U << 24;  // 768 MiB of reserved address space

  // `quiescence` outlives the table. `expected` sizes the initial bucket array. `max_entries` includes entry 0, which
  // is not used.
  EndpointTable(Quiescence& quiescence, std::uint32_t expected, std::uint32_t max_entries = kMaxEntries);
  ~EndpointTable();
  EndpointTable(const EndpointTable&) = delete;
  EndpointTable& operator=(const EndpointTable&) = delete;

  // Writer. When the identity changes, the old one is accepted until `grace_until`.
  EndpointUpdate upsert(const EndpointEntry& endpoint, Seconds grace_until);
  // Whether it was there.
  bool remove(Realm realm, const IpAddress& address);
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // Reader, inside a read section: prefetches what find() will read. Call the two some time apart.
  // `hash`: address_hash() of realm and address.
  void prefetch_bucket(std::uint64_t hash) const noexcept;
  void prefetch_entry(std::uint64_t hash) const noexcept;
  // Reader, inside a read section. False when the address is unknown.
  [[nodiscard]] bool find(Realm realm, const IpAddress& address, EndpointInfo& info) const noexcept;
  [[nodiscard]] bool find(Realm realm, const IpAddress& address, std::uint64_t hash,
                          EndpointInfo& info) const noexcept {
    const Entry* entry = lookup(*published_.load(std::memory_order_acquire), realm, address, hash);
    if (entry == nullptr) {
      return false;
    }
    const std::uint64_t identities = entry->identities.load(std::memory_order_acquire);
    info.identity = Identity{static_cast<std::uint32_t>(identities)};
    info.previous = Identity{static_cast<std::uint32_t>(identities >> 32)};
    info.cluster = ClusterId{entry->cluster.load(std::memory_order_relaxed)};
    info.grace_until = Seconds{entry->grace_until.load(std::memory_order_relaxed)};
    info.node = PeerId{entry->node.load(std::memory_order_relaxed)};
    return true;
  }

 private:
  // Every other entry spans two cache lines, which are prefetched together: in exchange, 48 bytes instead of 64.
  struct Entry {
    IpAddress address;
    Realm realm;
    std::atomic<std::uint16_t> cluster{0};
    std::atomic<std::uint32_t> next[2];        // indexed by the parity of the bucket array in use
    std::atomic<std::uint64_t> identities{0};  // current | previous << 32
    std::atomic<std::uint32_t> grace_until{0};
    std::atomic<std::uint32_t> node{0};
  };
  static_assert(sizeof(Entry) == 48);
  struct Buckets {
    explicit Buckets(std::uint32_t count, unsigned link) : mask(count - 1), parity(link), heads(count) {}
    std::uint32_t mask;
    unsigned parity;
    HugePageVector<std::atomic<std::uint32_t>> heads;
  };

  [[nodiscard]] Entry* lookup(const Buckets& buckets, Realm realm, const IpAddress& address,
                              std::uint64_t hash) const noexcept {
    std::uint32_t number = buckets.heads[hash & buckets.mask].load(std::memory_order_acquire);
    while (number != 0) {
      Entry& entry = entries_[number];
      if (entry.address == address && entry.realm == realm) {
        return &entry;
      }
      number = entry.next[buckets.parity].load(std::memory_order_acquire);
    }
    return nullptr;
  }
  void grow();
  void reclaim();
  [[nodiscard]] std::uint32_t allocate();

  Quiescence& quiescence_;
  std::uint32_t max_entries_;
  Entry* entries_ = nullptr;  // reserved address space; pages are allocated as entries are used
  std::uint32_t used_ = 1;    // entry 0 terminates chains
  std::size_t size_ = 0;
  std::vector<std::uint32_t> free_;
  struct RetiredEntry {
    std::uint32_t entry;
    std::uint64_t ticket;
  };
  std::deque<RetiredEntry> retired_;
  std::unique_ptr<Buckets> retired_buckets_;  // the previous array, until no reader uses it
  std::uint64_t retired_buckets_ticket_ = 0;
  std::unique_ptr<Buckets> current_;
  std::atomic<const Buckets*> published_{nullptr};
};

}  // namespace isthmus
