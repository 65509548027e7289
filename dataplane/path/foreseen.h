// What prefetching has found on the way of an admission, kept so that admission does not look for it a second time, and
// the keys of the connections that a burst has made so far. Thread: the worker, within one burst.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/flow/flow_key.h"
#include "dataplane/publish/snapshot.h"

namespace isthmus {

struct Packet;

struct Foreseen {
  const Packet* packet = nullptr;
  bool hit = false;                    // it has a connection
  const Snapshot* snapshot = nullptr;  // that shard, frontend and slot are of
  const FrontendShard* shard = nullptr;
  const FrontendEntry* frontend = nullptr;  // nullptr: the forward destination is no VIP
  std::uint32_t slot = 0;                   // of the frontend's ring; new connections only
  FlowKey forward, reply;                   // of the connection the packet has, or would make
  std::uint64_t reply_hash = 0;             // of the connection table; new connections only

  [[nodiscard]] bool holds(const Snapshot* current, const FlowKey& forward_key) const noexcept {
    return snapshot == current && forward == forward_key;
  }
};

// A filter over hashes: "no" is certain, "yes" is right or one of some twenty.
class MadeKeys {
 public:
  void clear() noexcept { bits_ = {}; }
  void add(std::uint64_t hash) noexcept { word(hash) |= bit(hash); }
  [[nodiscard]] bool may_have(std::uint64_t hash) const noexcept { return (bits_[place(hash)] & bit(hash)) != 0; }

 private:
  static constexpr std::size_t kWords = 16;
  [[nodiscard]] static std::size_t place(std::uint64_t hash) noexcept { return (hash >> 6) % kWords; }
  [[nodiscard]] static std::uint64_t bit(std::uint64_t hash) noexcept { return std::uint64_t{1} << (hash % 64); }
  [[nodiscard]] std::uint64_t& word(std::uint64_t hash) noexcept { return bits_[place(hash)]; }
  std::array<std::uint64_t, kWords> bits_{};
};

}  // namespace isthmus
