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

AffinityTable::Entry& AffinityTable::place(std::size_t set, const FrontendKey& frontend,
                                           const IpAddress& client) noexcept {
  const std::span<Entry> entries(entries_ + set * kWays, kWays);
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& entry) { return matches(entry, frontend, client); });
  if (found != entries.end()) {
    return *found;
  }
  Entry& oldest = *std::min_element(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return !b.client.is_unspecified() && (a.client.is_unspecified() || a.used < b.used);
  });
  oldest = {client, frontend.vip, {}, Seconds{0}, frontend.port, {}, frontend.realm, frontend.protocol};
  return oldest;
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
  Entry& entry = place(set, frontend, client);
  entry.backend = backend.address;
  entry.backend_port = backend.port;
  entry.used = now;
}

void AffinityTable::keep(const FrontendKey& frontend, const IpAddress& client, const Backend& backend,
                         Seconds used) noexcept {
  if (entries_ == nullptr) {
    return;
  }
  const std::size_t set = set_of(frontend, client);
  const Held held(locks_[set % kLocks]);
  Entry& entry = place(set, frontend, client);
  if (entry.backend.is_unspecified()) {
    entry.backend = backend.address;
    entry.backend_port = backend.port;
    entry.used = used;
  } else if (Backend{entry.backend, entry.backend_port} == backend) {
    entry.used = std::max(entry.used, used);
  }
}

}  // namespace isthmus
