// A worker's cache of policy verdicts, so that connections between the same two identities on the same port evaluate a
// policy of hundreds of entries only once, and those to ports that the policy does not tell apart only once for all.
//
// Direct-mapped under a secret, hence bounded, and nobody can choose whom to displace; a collision replaces the entry.
// A scan of ports fills the one half, of ports, and hardly the other, of classes of ports. A verdict is valid as long
// as its subject's epoch word has the value sampled before the verdict was computed. A decision stages its verdicts;
// they are kept only if the snapshot they were computed from is still the published one afterwards (the same rule
// applies to blocks handed to the connection table). Thread: its worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/api/policy.h"
#include "dataplane/packet/flow_key.h"
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
  enum class By : std::uint8_t { kPort, kClass };
  // nullptr: not cached, or no longer valid. `by` kClass: the port in the key is the number of its class.
  [[nodiscard]] const PolicyVerdict* find(By by, const Key& key, std::uint32_t epoch) const noexcept {
    const Entry& entry = half(by)[index(key)];
    return entry.used && entry.epoch == epoch && entry.key == key ? &entry.verdict : nullptr;
  }
  // One decision evaluates two verdicts for each backend that it tries; the last ones are kept.
  void stage(By by, const Key& key, std::uint32_t epoch, const PolicyVerdict& verdict) noexcept {
    staged_[staged_count_++ % staged_.size()] = {{key, epoch, verdict, true}, by};
  }
  // After each decision.
  void settle(bool keep) noexcept {
    if (staged_count_ == 0) [[likely]] {
      return;
    }
    for (Staged& staged : staged_) {
      if (keep && staged.entry.used) {
        half(staged.by)[index(staged.entry.key)] = staged.entry;
      }
      staged.entry.used = false;
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
  struct Staged {
    Entry entry;
    By by = By::kPort;
  };
  using Half = std::array<Entry, kEntries>;
  [[nodiscard]] std::size_t index(const Key& q) const noexcept {
    const std::uint64_t pair = std::uint64_t{q.subject.value()} << 32 | q.peer.value();
    const std::uint64_t l4 = std::uint64_t{q.l4.protocol} << 17 | std::uint64_t{q.l4.port} << 1 | (q.ingress ? 1 : 0);
    return flow_hash::mix(pair ^ secret_, l4 ^ secret_) % kEntries;
  }
  [[nodiscard]] Half& half(By by) noexcept { return halves_[static_cast<std::size_t>(by)]; }
  [[nodiscard]] const Half& half(By by) const noexcept { return halves_[static_cast<std::size_t>(by)]; }

  std::uint64_t secret_ = FlowHasher::random()(FlowKey{}) | 1;
  std::array<Half, 2> halves_{};
  std::array<Staged, 4> staged_{};
  unsigned staged_count_ = 0;
};

}  // namespace isthmus
