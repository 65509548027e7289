// Epoch words: invalidation of cached decisions without a global generation number.
//
// 32,768 words; a word is incremented when an object that hashes to it changes. A decision stores the indexes it
// depends on, the sum of the values it saw, and of each the lower half, which tells what has moved. Protocol: a writer
// makes its change visible first and increments the word afterwards; a decision samples the words first and reads the
// tables afterwards. A decision made from old data therefore always carries an old value. Threads: any, lock-free.
// Lifetime: a view of words in the connection table's mapping or, where connections are handed down, of those that XDP
// reads. A hash collision causes a needless revalidation, never a stale decision.
#pragma once

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/base/types.h"
#include "dataplane/conntrack/direction_block.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/net/ip_address.h"
#include "xdp/abi.h"

namespace isthmus {

using EpochIndex = std::uint16_t;

// The words that a decision depends on, as they were before it was made. Unused places refer to word 0.
struct Dependencies {
  std::array<EpochIndex, kEpochsPerBlock> index{};
  std::array<std::uint16_t, kEpochsPerBlock> value{};  // lower halves
  std::uint32_t count = 0;
  std::uint32_t sum = 0;     // of the values
  std::uint32_t unused = 0;  // value of word 0

  void write_to(DirectionBlock& block) const noexcept {
    static_assert(sizeof block.epoch_index == sizeof index && sizeof block.epoch_value == sizeof value);
    std::memcpy(block.epoch_index, index.data(), sizeof index);
    std::memcpy(block.epoch_value, value.data(), sizeof value);
    block.epoch_sum = sum;
  }
};

// What a word stands for, as its index tells.
enum class EpochKind : std::uint8_t { kNone, kService, kPolicy, kOwnPeers, kPeer, kAddress };

// The words of a block as they are now, and which kinds of them have moved since the block was stamped.
struct EpochSample {
  std::uint32_t sum = 0;
  std::array<std::uint16_t, kEpochsPerBlock> value{};
  std::uint32_t kinds = 0;  // a bit for each EpochKind
  bool known = false;       // what has moved can be told
  [[nodiscard]] static constexpr std::uint32_t bit(EpochKind kind) noexcept {
    return 1U << static_cast<std::uint8_t>(kind);
  }
  [[nodiscard]] bool moved(EpochKind kind) const noexcept { return (kinds & bit(kind)) != 0; }
};

class EpochTable {
 public:
  static constexpr std::size_t kWords = 32768;
  // Words from kFirstEndpointWord on are used by endpoints and VIPs, those below by services, policy subjects and
  // peers.
  static constexpr std::size_t kFirstEndpointWord = kWords / 4;
  static constexpr std::size_t kFirstPolicyWord = kWords / 16, kFirstPeerWord = kWords / 8;
  static_assert(kFirstPolicyWord < kFirstPeerWord && kFirstPeerWord < kFirstEndpointWord);
  [[nodiscard]] static constexpr EpochKind kind_of(EpochIndex word) noexcept {
    if (word >= kFirstPeerWord) {
      return word >= kFirstEndpointWord ? EpochKind::kAddress
             : word == kFirstPeerWord   ? EpochKind::kOwnPeers
                                        : EpochKind::kPeer;
    }
    return word >= kFirstPolicyWord ? EpochKind::kPolicy : word == 0 ? EpochKind::kNone : EpochKind::kService;
  }
  using Word = std::atomic<std::uint32_t>;
  static_assert(Word::is_always_lock_free && sizeof(Word) == 4);

  // XDP's words (xdp/abi.h).
  [[nodiscard]] static Word* words_at(std::uint32_t* words) noexcept { return reinterpret_cast<Word*>(words); }
  static_assert(kWords == ISTHMUS_EPOCH_WORDS);

  EpochTable() = default;
  // `words` points to kWords words.
  explicit EpochTable(Word* words) noexcept : words_(words) {}

  // Indexes 1 .. kWords - 1. Word 0 stands for the unused entries of a block and is incremented by bump_all() only.
  // Endpoints change thousands of times a second and own three quarters of the words, so that a change rarely
  // invalidates unrelated decisions.
  [[nodiscard]] static EpochIndex of_endpoint(Realm realm, const IpAddress& address) noexcept {
    return of_address(address_hash(realm, address));
  }
  // The same for an address_hash() that is known already. Also the word of a VIP: services that come and go there.
  [[nodiscard]] static EpochIndex of_address(std::uint64_t hash) noexcept {
    return static_cast<EpochIndex>(kFirstEndpointWord + (((hash >> 32) * (kWords - kFirstEndpointWord)) >> 32));
  }
  [[nodiscard]] static EpochIndex of_service(ServiceId id) noexcept {
    return of_number(1, id.value(), 1, kFirstPolicyWord);
  }
  [[nodiscard]] static EpochIndex of_policy_subject(Identity id) noexcept {
    return of_number(2, id.value(), kFirstPolicyWord, kFirstPeerWord);
  }
  [[nodiscard]] static EpochIndex of_peer(PeerId id) noexcept {
    return of_number(3, id.value(), kFirstPeerWord + 1, kFirstEndpointWord);
  }
  // Which gateways of a cluster are live, and what is known of each: for what is refused, or stays with a peer that is
  // not live, for want of one.
  [[nodiscard]] static EpochIndex of_gateways(ClusterId id) noexcept {
    return of_number(4, id.value(), kFirstPeerWord + 1, kFirstEndpointWord);
  }
  // The peers of our own cluster together, so that a decision never depends on more than kEpochsPerBlock words: source,
  // destination, service, and of two subjects of policy, our own peers and one peer of another cluster three at most.
  [[nodiscard]] static EpochIndex of_own_peers() noexcept { return kFirstPeerWord; }

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

  // A decision, before it reads the tables: begin(), then depend() on each word before the data it guards is read.
  void begin(Dependencies& on) const noexcept {
    on.unused = words_[0].load(std::memory_order_acquire);
    on.index = {};
    on.value.fill(static_cast<std::uint16_t>(on.unused));
    on.count = 0;
    on.sum = on.unused * static_cast<std::uint32_t>(kEpochsPerBlock);
  }
  // Returns the word's value. Word 0 takes no place. Beyond kEpochsPerBlock words, which no decision needs, the
  // decision holds for one packet only.
  std::uint32_t depend(Dependencies& on, EpochIndex word) const noexcept {
    const std::uint32_t value = words_[word].load(std::memory_order_acquire);
    if (on.count == kEpochsPerBlock) [[unlikely]] {
      assert(on.count != kEpochsPerBlock);
      --on.sum;
    } else if (word != 0) {
      on.value[on.count] = static_cast<std::uint16_t>(value);
      on.index[on.count++] = word;
      on.sum += value - on.unused;
    }
    return value;
  }
  // The same for a word that the decision may depend on already: it takes one place.
  std::uint32_t depend_once(Dependencies& on, EpochIndex word) const noexcept {
    for (std::uint32_t i = 0; i < on.count; ++i) {
      if (on.index[i] == word) {
        return words_[word].load(std::memory_order_acquire);
      }
    }
    return depend(on, word);
  }
  // True when the block was verified in this generation, so that verify() need not compare its words.
  [[nodiscard]] static bool verified_in(const DirectionBlock& block, std::uint32_t generation) noexcept {
    return __atomic_load_n(&block.verified_at, __ATOMIC_RELAXED) == generation;
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
    return sum_of(block.epoch_index) == stamp_of(block);
  }
  // The sum of its words when the decision last stood.
  [[nodiscard]] static std::uint32_t stamp_of(const DirectionBlock& block) noexcept {
    return __atomic_load_n(&block.epoch_sum, __ATOMIC_RELAXED);
  }
  // `sum`: of Dependencies.
  [[nodiscard]] bool is_current(const std::array<EpochIndex, kEpochsPerBlock>& index,
                                std::uint32_t sum) const noexcept {
    return sum_of(index.data()) == sum;
  }
  // Before the tables are read.
  [[nodiscard]] EpochSample sample(const DirectionBlock& block) const noexcept {
    EpochSample now;
    std::uint32_t steps = 0;
#pragma GCC unroll 6
    for (std::size_t i = 0; i < kEpochsPerBlock; ++i) {
      const std::uint32_t value = words_[block.epoch_index[i] % kWords].load(std::memory_order_acquire);
      now.value[i] = static_cast<std::uint16_t>(value);
      now.sum += value;
      const auto step =
          static_cast<std::uint16_t>(now.value[i] - __atomic_load_n(&block.epoch_value[i], __ATOMIC_RELAXED));
      steps += step;
      if (step != 0) {
        now.kinds |= EpochSample::bit(kind_of(block.epoch_index[i]));
      }
    }
    // A word that has moved by a multiple of 65,536 seems not to have moved, but for the sum.
    now.known = now.sum - __atomic_load_n(&block.epoch_sum, __ATOMIC_RELAXED) == steps;
    return now;
  }
  // The decision still stands as of the sample. Of two workers that stamp one block at the same time, each has verified
  // what the values that it stores stand for.
  static void stamp(const DirectionBlock& block, std::uint32_t sum, const std::uint16_t* value) noexcept {
#pragma GCC unroll 6
    for (std::size_t i = 0; i < kEpochsPerBlock; ++i) {
      __atomic_store_n(&block.epoch_value[i], value[i], __ATOMIC_RELAXED);
    }
    __atomic_store_n(&block.epoch_sum, sum, __ATOMIC_RELAXED);
  }
  // A decision of another process, whose words were others: as if one of them had moved, and which cannot be told.
  void spoil(DirectionBlock& block) const noexcept {
    for (std::size_t i = 0; i < kEpochsPerBlock; ++i) {
      block.epoch_value[i] = static_cast<std::uint16_t>(words_[block.epoch_index[i] % kWords].load());
    }
    block.epoch_sum = sum_of(block.epoch_index) - 1;
  }
  [[nodiscard]] std::uint32_t load(EpochIndex index) const noexcept {
    return words_[index].load(std::memory_order_acquire);
  }

 private:
  // A word of [first, end).
  [[nodiscard]] static EpochIndex of_number(std::uint64_t kind, std::uint64_t number, std::size_t first,
                                            std::size_t end) noexcept;
  [[nodiscard]] std::uint32_t sum_of(const EpochIndex* indexes) const noexcept {
    std::uint32_t sum = 0;
#pragma GCC unroll 6
    for (std::size_t i = 0; i < kEpochsPerBlock; ++i) {
      sum += words_[indexes[i] % kWords].load(std::memory_order_acquire);
    }
    return sum;
  }

  void advance() noexcept {
    if (generation_.fetch_add(1, std::memory_order_release) == 0xffffffff) {
      generation_.fetch_add(1, std::memory_order_release);
    }
  }

  Word* words_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> generation_{1};
};

}  // namespace isthmus
