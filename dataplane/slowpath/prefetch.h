// Prefetching for a burst's decisions. One decision follows a chain of some ten cache lines, each of which holds the
// address of the next; with many connections and services most of them miss the caches, one after the other. Here the
// chains of all packets of a burst are walked in parallel, one link at a time, so that a burst stalls about once per
// link. Decides nothing; what it has looked up in the snapshot is kept as hints. Thread: the worker, within one burst.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/conntrack/connection.h"
#include "dataplane/packet/packet.h"
#include "dataplane/slowpath/decision.h"

namespace isthmus {

struct SlowContext;

struct Prefetched {
  const Packet* packet = nullptr;
  const Connection* connection = nullptr;  // the packet's, if any
  const FlowKey* forward = nullptr;
  Direction direction = Direction::kForward;
  bool plain = false;  // a new connection that may be opened by a pattern
  Hints hints;
};

// So many insertions before its own, a slot and its blocks are prefetched.
inline constexpr unsigned kInsertsAhead = 2;

struct Prefetches {
  std::array<Prefetched, kMaxBurst> states;
  unsigned count = 0;
};

// A Bloom filter over key hashes, 1,024 bits with one bit per key: no false negatives, and a false positive for about
// one key in twenty.
class InsertedKeys {
 public:
  void clear() noexcept { bits_ = {}; }
  void add(std::uint64_t hash) noexcept { bits_[word_index(hash)] |= bit(hash); }
  [[nodiscard]] bool may_contain(std::uint64_t hash) const noexcept {
    return (bits_[word_index(hash)] & bit(hash)) != 0;
  }

 private:
  static constexpr std::size_t kWords = 16;
  [[nodiscard]] static std::size_t word_index(std::uint64_t hash) noexcept { return (hash >> 6) % kWords; }
  [[nodiscard]] static std::uint64_t bit(std::uint64_t hash) noexcept { return std::uint64_t{1} << (hash % 64); }
  std::array<std::uint64_t, kWords> bits_{};
};

// For the packets in `list`, of which context.prefetches then holds one entry each, in order.
void prefetch_decisions(SlowContext& context, const Burst& burst, const PacketList& list) noexcept;

}  // namespace isthmus
