// A worker's cache of policy verdicts, so that connections between the same two identities on the same port evaluate a
// policy of hundreds of entries only once.
//
// Direct-mapped, hence bounded; a collision replaces the entry. A verdict is valid as long as its subject's epoch word
// has the value sampled before the verdict was computed. A decision stages its verdicts; they are kept only if the
// snapshot they were computed from is still the published one afterwards (the same rule applies to blocks handed to the
// connection table). Thread: its worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/api/policy.h"
#include "dataplane/tables/policy_table.h"

namespace isthmus {

class VerdictCache {
 public:
  struct Key {
    Identity subject, peer;
    PolicyL4 l4;
    bool ingress = false;
    friend bool operator==(const Key&, const Key&) = default;
  };
  // nullptr: not cached, or no longer valid.
  [[nodiscard]] const PolicyVerdict* find(const Key& key, std::uint32_t epoch) const noexcept {
    const Entry& entry = entries_[index(key)];
    return entry.used && entry.epoch == epoch && entry.key == key ? &entry.verdict : nullptr;
  }
  // One decision evaluates two verdicts for each backend that it tries; the last ones are kept.
  void stage(const Key& key, std::uint32_t epoch, const PolicyVerdict& verdict) noexcept {
    staged_[staged_count_++ % staged_.size()] = {key, epoch, verdict, true};
  }
  // After each decision.
  void settle(bool keep) noexcept {
    if (staged_count_ == 0) [[likely]] {
      return;
    }
    for (Entry& entry : staged_) {
      if (keep && entry.used) {
        entries_[index(entry.key)] = entry;
      }
      entry.used = false;
    }
    staged_count_ = 0;
  }

 private:
  static constexpr std::size_t kEntries = 1024;
  struct Entry {
    Key key;
    std::uint32_t epoch = 0;
    PolicyVerdict verdict;
    bool used = false;
  };
  [[nodiscard]] static std::size_t index(const Key& q) noexcept {
    const std::uint64_t pair = std::uint64_t{q.subject.value()} << 32 | q.peer.value();
    const std::uint64_t l4 = std::uint64_t{q.l4.protocol} << 17 | std::uint64_t{q.l4.port} << 1 | (q.ingress ? 1 : 0);
    return static_cast<std::size_t>(((pair ^ l4 << 20) * 0x9e3779b97f4a7c15ULL) >> 54);
  }
  static_assert(kEntries == 1u << (64 - 54));

  std::array<Entry, kEntries> entries_{};
  std::array<Entry, 2> staged_{};
  unsigned staged_count_ = 0;
};

}  // namespace isthmus
