// Lookup results of prefetching, kept so that admission need not look them up again, and the keys of the connections
// that the burst has inserted so far. Thread: the worker, within one burst.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/conntrack/connection.h"
#include "dataplane/packet/flow_key.h"
#include "dataplane/tables/snapshot.h"

namespace isthmus {

struct Packet;

struct PrefetchState {
  const Packet* packet = nullptr;
  bool hit = false;  // the packet has a connection
  Direction direction = Direction::kForward;
  const Connection* connection = nullptr;
  const Snapshot* snapshot = nullptr;  // the one that shard, frontend and slot belong to
  const FrontendShard* shard = nullptr;
  const FrontendEntry* frontend = nullptr;  // nullptr: the forward destination is no VIP
  std::uint32_t slot = 0;                   // of the frontend's ring; new connections only
  FlowKey forward, reply;                   // of the packet's connection, or of the one it would open
  std::uint64_t reply_hash = 0;             // FlowTable::hash(reply); new connections only

  [[nodiscard]] bool matches(const Snapshot* current, const FlowKey& forward_key) const noexcept {
    return snapshot == current && forward == forward_key;
  }
};

// A Bloom filter over key hashes, 1,024 bits with one bit per key: no false negatives, and a false
// positive for about one key in twenty.
class InsertedKeys {
 public:
  void clear() noexcept { bits_ = {}; }
  void add(std::uint64_t hash) noexcept { word(hash) |= bit(hash); }
  [[nodiscard]] bool may_contain(std::uint64_t hash) const noexcept {
    return (bits_[word_index(hash)] & bit(hash)) != 0;
  }

 private:
  static constexpr std::size_t kWords = 16;
  [[nodiscard]] static std::size_t word_index(std::uint64_t hash) noexcept { return (hash >> 6) % kWords; }
  [[nodiscard]] static std::uint64_t bit(std::uint64_t hash) noexcept { return std::uint64_t{1} << (hash % 64); }
  [[nodiscard]] std::uint64_t& word(std::uint64_t hash) noexcept { return bits_[word_index(hash)]; }
  std::array<std::uint64_t, kWords> bits_{};
};

}  // namespace isthmus
