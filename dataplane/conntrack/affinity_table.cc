#include "dataplane/conntrack/affinity_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <span>

#include "dataplane/base/memory_area.h"
#include "dataplane/net/address_hash.h"

namespace isthmus {
namespace {

class Held {
 public:
  explicit Held(SpinLock& lock) noexcept : lock_(lock) { lock_.take(); }
  ~Held() { lock_.release(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  SpinLock& lock_;
};

// Two workers' clocks differ slightly: what is used in the future is used now.
std::uint32_t age_of(Seconds used, Seconds now) noexcept {
  return now.value() > used.value() ? now.value() - used.value() : 0;
}

}  // namespace

AffinityTable::AffinityTable() {
  static_assert(sizeof(Entry) == 64);
  if (void* area = map_aligned(whole_huge_pages(kPins * sizeof(Entry))); area != MAP_FAILED) {
    entries_ = static_cast<Entry*>(area);  // zeroes: empty entries
  }
}

AffinityTable::~AffinityTable() {
  if (entries_ != nullptr) {
    munmap(entries_, whole_huge_pages(kPins * sizeof(Entry)));
  }
}

std::size_t AffinityTable::set_of(const FrontendKey& frontend, const IpAddress& client) noexcept {
  const std::uint64_t service = address_hash(frontend.realm, frontend.vip) + frontend.port.value();
  return static_cast<std::size_t>(folded_product(address_hash(frontend.realm, client), service | 1)) % kSets;
}

bool AffinityTable::matches(const Entry& entry, const FrontendKey& frontend, const IpAddress& client) noexcept {
  return entry.client == client && entry.vip == frontend.vip && entry.port == frontend.port &&
         entry.protocol == frontend.protocol && entry.realm == frontend.realm;
}

AffinityTable::Entry* AffinityTable::find(std::span<Entry> set, const FrontendKey& frontend,
                                          const IpAddress& client) noexcept {
  const auto found =
      std::find_if(set.begin(), set.end(), [&](const Entry& entry) { return matches(entry, frontend, client); });
  return found == set.end() ? nullptr : &*found;
}

AffinityTable::Entry& AffinityTable::oldest(std::span<Entry> set) noexcept {
  return *std::min_element(set.begin(), set.end(), [](const Entry& a, const Entry& b) {
    return !b.client.is_unspecified() && (a.client.is_unspecified() || a.used < b.used);
  });
}

// Under the set's lock; an entry never becomes empty again.
void AffinityTable::put(Entry& place, const Entry& entry) noexcept {
  if (place.client.is_unspecified()) {
    size_.fetch_add(1, std::memory_order_relaxed);
  }
  place = entry;
}

std::optional<AffinityTable::Backend> AffinityTable::find(const FrontendKey& frontend, const IpAddress& client,
                                                          Seconds now, Seconds timeout) const noexcept {
  if (entries_ == nullptr) {
    return std::nullopt;
  }
  const std::size_t set = set_of(frontend, client);
  const Held held(locks_[set % kLocks]);
  for (const Entry& entry : std::span<const Entry>(entries_ + set * kWays, kWays)) {
    if (matches(entry, frontend, client)) {
      return age_of(entry.used, now) < timeout.value() ? std::optional(Backend{entry.backend, entry.backend_port})
                                                       : std::nullopt;
    }
  }
  return std::nullopt;
}

void AffinityTable::pin(const FrontendKey& frontend, const IpAddress& client, const Backend& backend,
                        Seconds now) noexcept {
  if (entries_ == nullptr) {
    return;
  }
  const std::size_t set = set_of(frontend, client);
  const Held held(locks_[set % kLocks]);
  const std::span<Entry> entries(entries_ + set * kWays, kWays);
  Entry* const known = find(entries, frontend, client);
  put(known != nullptr ? *known : oldest(entries),
      {client, frontend.vip, backend.address, now, frontend.port, backend.port, frontend.realm, frontend.protocol});
}

// Another client that was there since then keeps its place.
void AffinityTable::keep(const FrontendKey& frontend, const IpAddress& client, const Backend& backend,
                         Seconds used) noexcept {
  if (entries_ == nullptr) {
    return;
  }
  const std::size_t set = set_of(frontend, client);
  const Held held(locks_[set % kLocks]);
  const std::span<Entry> entries(entries_ + set * kWays, kWays);
  if (Entry* const known = find(entries, frontend, client)) {
    if (Backend{known->backend, known->backend_port} == backend) {
      known->used = std::max(known->used, used);
    }
    return;
  }
  if (Entry& place = oldest(entries); place.client.is_unspecified() || place.used < used) {
    put(place,
        {client, frontend.vip, backend.address, used, frontend.port, backend.port, frontend.realm, frontend.protocol});
  }
}

}  // namespace isthmus
