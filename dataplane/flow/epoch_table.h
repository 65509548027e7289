// Epoch words: "does a cached decision still stand?" without a global generation.
//
// 32,768 words, each moved when something that hashes to it has changed. A decision keeps the indexes it depends on and
// the values it saw. Protocol: whoever changes a table first makes the change visible, then bumps; admission first
// samples, then reads the tables. So a decision made from old data always carries an old value.
// Threads: all functions any thread, lock-free. Lifetime: a view of words in the connection table's mapping; XDP reads
// the same words. Two things that share a word cost a needless re-admission, never a wrong one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/flow/direction_block.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

using EpochIndex = std::uint16_t;

class EpochTable {
 public:
  static constexpr std::size_t kWords = 32768;
  using Word = std::atomic<std::uint32_t>;
  static_assert(Word::is_always_lock_free && sizeof(Word) == 4);

  EpochTable() = default;
  // `words` points at kWords of them.
  explicit EpochTable(Word* words) noexcept : words_(words) {}

  // Indexes, 1 .. kWords - 1. Word 0 belongs to the unused places of a block and moves only with bump_all().
  // Endpoints change by the thousand each second and have most words for themselves, so that a change seldom meets a
  // decision that it does not concern.
  [[nodiscard]] static EpochIndex of_endpoint(Realm realm, const IpAddress& address) noexcept;
  [[nodiscard]] static EpochIndex of_service(ServiceId id) noexcept { return of_number(1, id.value()); }
  [[nodiscard]] static EpochIndex of_policy_subject(Identity id) noexcept { return of_number(2, id.value()); }
  [[nodiscard]] static EpochIndex of_peer(PeerId id) noexcept { return of_number(3, id.value()); }

  // Writers, after the change is visible.
  void bump(EpochIndex index) noexcept { words_[index].fetch_add(1, std::memory_order_release); }
  void bump_all() noexcept {
    for (std::size_t i = 0; i < kWords; ++i) {
      words_[i].fetch_add(1, std::memory_order_release);
    }
  }

  // Admission, before it reads the tables: fills place `place` (0 .. kEpochsPerBlock - 1) of a block. Call for every
  // place (index 0 for the unused ones), or start with sample_none().
  void sample(DirectionBlock& block, std::size_t place, EpochIndex index) const noexcept {
    const std::uint32_t value = words_[index].load(std::memory_order_acquire);
    block.epoch_index[place] = index;
    block.epoch_sum += value - block.epoch_value[place];
    block.epoch_value[place] = value;
  }
  void sample_none(DirectionBlock& block) const noexcept {
    const std::uint32_t value = words_[0].load(std::memory_order_acquire);
    for (std::size_t place = 0; place < kEpochsPerBlock; ++place) {
      block.epoch_index[place] = 0;
      block.epoch_value[place] = value;
    }
    block.epoch_sum = value * static_cast<std::uint32_t>(kEpochsPerBlock);
  }
  // Per packet: every word is as it was when the block was made. Time (valid_until) is the caller's to check too.
  [[nodiscard]] bool stands(const DirectionBlock& block) const noexcept {
    std::uint32_t sum = 0;
#pragma GCC unroll 5
    for (std::size_t i = 0; i < kEpochsPerBlock; ++i) {
      sum += words_[block.epoch_index[i] % kWords].load(std::memory_order_relaxed);
    }
    return sum == block.epoch_sum;
  }
  [[nodiscard]] std::uint32_t load(EpochIndex index) const noexcept {
    return words_[index].load(std::memory_order_acquire);
  }

 private:
  [[nodiscard]] static EpochIndex of_number(std::uint64_t kind, std::uint64_t number) noexcept;

  Word* words_ = nullptr;
};

}  // namespace isthmus
