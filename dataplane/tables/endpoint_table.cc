#include "dataplane/tables/endpoint_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "dataplane/base/prefetch.h"
#include "dataplane/net/address_hash.h"

namespace isthmus {
namespace {

std::uint32_t hash_of(Realm realm, const IpAddress& address) noexcept {
  return static_cast<std::uint32_t>(address_hash(realm, address));
}

}  // namespace

EndpointTable::EndpointTable(Quiescence& quiescence, std::uint32_t expected, std::uint32_t max_entries)
    : quiescence_(quiescence), max_entries_(max_entries) {
  void* area = mmap(nullptr, max_entries_ * sizeof(Entry), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) {
    std::perror("isthmus: endpoint table: cannot reserve address space");
    std::abort();
  }
  madvise(area, max_entries_ * sizeof(Entry), MADV_HUGEPAGE);  // lookups access memory at random
  entries_ = static_cast<Entry*>(area);                        // zero pages are valid empty entries
  current_ = std::make_unique<Buckets>(std::bit_ceil(std::max<std::uint32_t>(2 * expected, 64)), 0u);
  published_.store(current_.get(), std::memory_order_release);
}

EndpointTable::~EndpointTable() { munmap(entries_, max_entries_ * sizeof(Entry)); }

void EndpointTable::prefetch_bucket(std::uint64_t hash) const noexcept {
  const Buckets& buckets = *published_.load(std::memory_order_acquire);
  prefetch_line(&buckets.heads[hash & buckets.mask]);
}

void EndpointTable::prefetch_entry(std::uint64_t hash) const noexcept {
  const Buckets& buckets = *published_.load(std::memory_order_acquire);
  const std::uint32_t number = buckets.heads[hash & buckets.mask].load(std::memory_order_acquire);
  const auto* entry = reinterpret_cast<const std::uint8_t*>(&entries_[number]);
  prefetch_line(entry);
  prefetch_line(entry + sizeof(Entry) - 1);
}

bool EndpointTable::find(Realm realm, const IpAddress& address, EndpointInfo& info) const noexcept {
  return find(realm, address, address_hash(realm, address), info);
}

EndpointUpdate EndpointTable::upsert(const EndpointEntry& endpoint, Seconds grace_until) {
  reclaim();
  if (Entry* entry =
          lookup(*current_, endpoint.realm, endpoint.address, address_hash(endpoint.realm, endpoint.address));
      entry != nullptr) {
    const std::uint64_t old = entry->identities.load(std::memory_order_relaxed);
    const auto old_identity = static_cast<std::uint32_t>(old);
    const bool same = old_identity == endpoint.identity.value() &&
                      entry->cluster.load(std::memory_order_relaxed) == endpoint.cluster.value() &&
                      entry->node.load(std::memory_order_relaxed) == endpoint.node.value();
    if (same) {
      return EndpointUpdate::kUnchanged;
    }
    entry->cluster.store(endpoint.cluster.value(), std::memory_order_relaxed);
    entry->node.store(endpoint.node.value(), std::memory_order_relaxed);
    if (old_identity != endpoint.identity.value()) {
      entry->grace_until.store(grace_until.value(), std::memory_order_relaxed);
      entry->identities.store(endpoint.identity.value() | std::uint64_t{old_identity} << 32, std::memory_order_release);
    }
    return EndpointUpdate::kChanged;
  }
  if (2 * size_ >= current_->heads.size()) {  // keeps most chains at one entry
    grow();
  }
  const std::uint32_t number = allocate();
  if (number == 0) {
    return EndpointUpdate::kFull;
  }
  Entry& entry = entries_[number];
  entry.address = endpoint.address;
  entry.realm = endpoint.realm;
  entry.cluster.store(endpoint.cluster.value(), std::memory_order_relaxed);
  entry.identities.store(endpoint.identity.value() | std::uint64_t{endpoint.identity.value()} << 32,
                         std::memory_order_relaxed);
  entry.grace_until.store(0, std::memory_order_relaxed);
  entry.node.store(endpoint.node.value(), std::memory_order_relaxed);
  auto& head = current_->heads[hash_of(endpoint.realm, endpoint.address) & current_->mask];
  entry.next[current_->parity].store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
  head.store(number, std::memory_order_release);
  ++size_;
  return EndpointUpdate::kChanged;
}

bool EndpointTable::remove(Realm realm, const IpAddress& address) {
  reclaim();
  std::atomic<std::uint32_t>* link = &current_->heads[hash_of(realm, address) & current_->mask];
  for (std::uint32_t number = link->load(std::memory_order_relaxed); number != 0;
       number = link->load(std::memory_order_relaxed)) {
    Entry& entry = entries_[number];
    if (entry.address == address && entry.realm == realm) {
      // The entry keeps its link, so that readers currently on it still find its successor.
      link->store(entry.next[current_->parity].load(std::memory_order_relaxed), std::memory_order_release);
      retired_.push_back({number, quiescence_.advance()});
      --size_;
      return true;
    }
    link = &entry.next[current_->parity];
  }
  return false;
}

// Relinks every entry into twice the buckets, using the set of links that no reader follows, and swaps the array. That
// set belonged to the previous array; while readers may still use it, growing is postponed.
void EndpointTable::grow() {
  if (retired_buckets_ != nullptr) {
    return;
  }
  auto next = std::make_unique<Buckets>(static_cast<std::uint32_t>(current_->heads.size() * 2), current_->parity ^ 1u);
  for (auto& old_head : current_->heads) {
    for (std::uint32_t number = old_head.load(std::memory_order_relaxed); number != 0;
         number = entries_[number].next[current_->parity].load(std::memory_order_relaxed)) {
      Entry& entry = entries_[number];
      auto& head = next->heads[hash_of(entry.realm, entry.address) & next->mask];
      entry.next[next->parity].store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
      head.store(number, std::memory_order_relaxed);
    }
  }
  published_.store(next.get(), std::memory_order_release);
  retired_buckets_ = std::exchange(current_, std::move(next));
  retired_buckets_ticket_ = quiescence_.advance();
}

void EndpointTable::reclaim() {
  while (!retired_.empty() && quiescence_.passed(retired_.front().ticket)) {
    free_.push_back(retired_.front().entry);
    retired_.pop_front();
  }
  if (retired_buckets_ != nullptr && quiescence_.passed(retired_buckets_ticket_)) {
    retired_buckets_.reset();
  }
}

std::uint32_t EndpointTable::allocate() {
  if (!free_.empty()) {
    const std::uint32_t number = free_.back();
    free_.pop_back();
    return number;
  }
  return used_ < max_entries_ ? used_++ : 0;
}

}  // namespace isthmus
