// Patterns of decisions: what the decisions for all new connections between two kinds of ends have in common, so that
// most new connections are opened without deciding anew what has been decided for another one.
//
// Two connections that come from one origin, between ends of which the tables know the same (KnownEnd::kind), to one
// port and by one peer, get decisions that differ in nothing but addresses, ports, what is computed from these, and the
// epoch words of the two addresses and the service. decide() makes the first one; a pattern keeps the rest.
//
// What has a time limit, is audited, needs a source port of ours or has no decision for its replies has no pattern, nor
// do connections that are not opened by a plain IPv4 packet with a TCP SYN or UDP. A pattern holds for the snapshot
// that it was made from, while the words of peers and policies that it depends on stand. Thread: its worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/conntrack/flow_table.h"
#include "dataplane/slowpath/decision.h"
#include "dataplane/slowpath/known_ends.h"

namespace isthmus {

struct Pattern {
  struct Key {
    std::uint64_t origin = 0;
    std::uint64_t source = 0, target = 0;  // KnownEnd::kind; that of a backend with its cluster
    std::uint64_t rest = 0;                // peer that owns the connection, protocol, port, whether there is a service
    std::uint32_t snapshot = 0;            // 0: of no pattern
    friend bool operator==(const Key&, const Key&) noexcept = default;
  };
  static constexpr std::uint8_t kNoPlace = kEpochsPerBlock;

  Key key;
  std::uint32_t verified_at = 0;                    // EpochTable::generation() when the words were last compared
  std::uint32_t sum = 0;                            // of the values of `fixed`
  std::uint32_t unused = 0;                         // value of word 0
  std::array<EpochIndex, kEpochsPerBlock> fixed{};  // words but for those of ends and service, which are 0
  std::uint8_t source_place = 0, target_place = 0, service_place = kNoPlace;  // of their words in a block
  bool on_link = false, reply_on_link = false;                                // Egress::on_link
  std::uint16_t peer_holder = 0;                                              // Holder::peer
  ConnectionTraits traits;
  DirectionBlock block, reply_block;  // but for addresses, ports and what is computed from them, words and sum
};

// A new connection for which a pattern may exist.
struct PatternedOpening {
  bool plain = false;  // false: nothing else here holds
  Pattern::Key key;
  const KnownEnd *source = nullptr, *target = nullptr;  // in the table of known ends, or below
  FlowKey reply;
  std::uint32_t reply_symmetric = 0;  // symmetric_hash(reply)
  std::array<KnownEnd, 2> made;       // those that were not known
  EpochIndex service = 0;             // its word, and the word's value; 0: there is no service
  std::uint32_t service_value = 0;
};

class Patterns {
 public:
  // nullptr: none, or none that holds. `generation` was loaded before.
  [[nodiscard]] const Pattern* find(const Pattern::Key& key, const EpochTable& epochs,
                                    std::uint32_t generation) noexcept {
    for (Pattern& pattern : sets_[hash_of(key) % kSets].patterns) {
      if (pattern.key == key) {
        if (pattern.verified_at != generation) {
          if (!epochs.is_current(pattern.fixed, pattern.sum)) {
            return nullptr;
          }
          pattern.verified_at = generation;
        }
        return &pattern;
      }
    }
    return nullptr;
  }
  // Where to make a pattern: in place of one that no longer holds, or else of one of its set. nullptr: where another
  // one would have to go, not the first time that the key is seen, so that who scans ports displaces nothing.
  [[nodiscard]] Pattern* place(const Pattern::Key& key) noexcept {
    const std::uint64_t hash = hash_of(key);
    Set& set = sets_[hash % kSets];
    for (Pattern& pattern : set.patterns) {
      if (pattern.key == key || pattern.key.snapshot != key.snapshot) {
        return &pattern;
      }
    }
    const auto tag = static_cast<std::uint32_t>(hash >> 32 | 1);
    if (set.candidate == tag) {
      return &set.patterns[++turn_ % set.patterns.size()];
    }
    set.candidate = tag;
    return nullptr;
  }

 private:
  static constexpr std::size_t kSets = 2048;
  struct Set {
    std::array<Pattern, 2> patterns;
    std::uint32_t candidate = 0;  // of the last key that found no place
  };
  [[nodiscard]] static std::uint64_t hash_of(const Pattern::Key& key) noexcept {
    return folded_product(key.source ^ key.origin, key.target ^ key.rest * 0x9e3779b97f4a7c15ULL);
  }

  HugePageVector<Set> sets_ = HugePageVector<Set>(kSets);
  std::uint32_t turn_ = 0;
};

}  // namespace isthmus
