// Epoch words: invalidation of cached decisions without a global generation number.
//
// 32,768 words; a word is incremented when an object that hashes to it changes. A decision stores the indexes it
// depends on and the values it saw. Protocol: a writer makes its change visible first and increments the word
// afterwards; admission samples the words first and reads the tables afterwards. A decision made from old data
// therefore always carries an old value. Threads: any, lock-free. Lifetime: a view of words in the connection table's
// mapping; XDP reads the same words. A hash collision causes a needless revalidation, never a stale decision.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/conntrack/direction_block.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

using EpochIndex = std::uint16_t;

class EpochTable {
 public:
  static constexpr std::size_t kWords = 32768;
  using Word = std::atomic<std::uint32_t>;
  static_assert(Word::is_always_lock_free && sizeof(Word) == 4);

  EpochTable() = default;
  // `words` points to kWords words.
  explicit EpochTable(Word* words) noexcept : words_(words) {}

  // Indexes 1 .. kWords - 1. Word 0 stands for the unused entries of a block and is incremented by bump_all() only.
  // Endpoints change thousands of times a second and own three quarters of the words, so that a change rarely
  // invalidates unrelated decisions.
  [[nodiscard]] static EpochIndex of_endpoint(Realm realm, const IpAddress& address) noexcept;
  [[nodiscard]] static EpochIndex of_service(ServiceId id) noexcept { return of_number(1, id.value()); }
  [[nodiscard]] static EpochIndex of_policy_subject(Identity id) noexcept { return of_number(2, id.value()); }
  [[nodiscard]] static EpochIndex of_peer(PeerId id) noexcept { return of_number(3, id.value()); }

  // For writers, after their change is visible.
  void bump(EpochIndex index) noexcept {
    words_[index].fetch_add(1, std::memory_order_release);
    advance();
  }
  void bump_all() noexcept {
    for (std::size_t i = 0; i < kWords; ++i) {
      words_[i].fetch_add(1, std::memory_order_release);
    }
    advance();
  }
  // A number that changes after every change of a word. While it stands, a decision that was compared word by word
  // still holds, so that settled packets compare one number and leave the words out of the caches. Never 0. Load it
  // before the words.
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }

  // Admission, before it reads the tables: records word `word` as entry `index` (0 .. kEpochsPerBlock - 1) of a block.
  // Call for every entry (word 0 for the unused ones), or start with sample_none().
  void sample(DirectionBlock& block, std::size_t index, EpochIndex word) const noexcept {
    const std::uint32_t value = words_[word].load(std::memory_order_acquire);
    block.epoch_index[index] = word;
    block.epoch_sum += value - block.epoch_value[index];
    block.epoch_value[index] = value;
  }
  void sample_none(DirectionBlock& block) const noexcept {
    const std::uint32_t value = words_[0].load(std::memory_order_acquire);
    for (std::size_t index = 0; index < kEpochsPerBlock; ++index) {
      block.epoch_index[index] = 0;
      block.epoch_value[index] = value;
    }
    block.epoch_sum = value * static_cast<std::uint32_t>(kEpochsPerBlock);
  }
  // True when no word has changed since the block was built and its time limit has not passed; then also notes
  // `generation`, which was loaded before.
  [[nodiscard]] bool verify(const DirectionBlock& block, std::uint32_t generation, Seconds now) const noexcept {
    if (!is_current(block) || (block.valid_until.value() != 0 && block.valid_until < now)) {
      return false;
    }
    if (block.valid_until.value() == 0) {
      __atomic_store_n(&block.verified_at, generation, __ATOMIC_RELAXED);
    }
    return true;
  }
  [[nodiscard]] bool is_current(const DirectionBlock& block) const noexcept {
    std::uint32_t sum = 0;
#pragma GCC unroll 5
    for (std::size_t i = 0; i < kEpochsPerBlock; ++i) {
      sum += words_[block.epoch_index[i] % kWords].load(std::memory_order_acquire);
    }
    return sum == block.epoch_sum;
  }
  [[nodiscard]] std::uint32_t load(EpochIndex index) const noexcept {
    return words_[index].load(std::memory_order_acquire);
  }

 private:
  [[nodiscard]] static EpochIndex of_number(std::uint64_t kind, std::uint64_t number) noexcept;

  void advance() noexcept {
    if (generation_.fetch_add(1, std::memory_order_release) == 0xffffffff) {
      generation_.fetch_add(1, std::memory_order_release);
    }
  }

  Word* words_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> generation_{1};
};

}  // namespace isthmus
