// TagIndex: a hash index from a key's hash to 32-bit numbers; the keys are stored elsewhere. Lock-free readers, writers
// under spin locks.
//
// A bucket is one cache line: seven entries (tag and number) and a count of keys that overflowed. A key has two
// buckets, both in one region of 64 buckets (a page), so a lookup touches one page, and one cache line unless the first
// bucket overflowed. The index never compares keys: the caller's predicate does, for entries whose tag matches.
//
// Readers: any thread, inside a read section, no lock. They may miss an entry that is inserted, erased or moved at the
// same time; before acting on a miss, repeat the lookup inside a Guard. Writers: inside a Guard over the hashes they
// touch. Memory: the caller's area, zeroed, page-aligned, at least bytes_for(keys) long; it outlives the index. With
// `keys` entries half of the slots are used. insert() returns false when both buckets of a key are full and none of the
// fourteen entries there can move to its other bucket.
#pragma once

#include <emmintrin.h>

#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "dataplane/base/prefetch.h"
#include "dataplane/base/spin_lock.h"

namespace isthmus {

class TagIndex {
 public:
  static constexpr unsigned kEntries = 7;
  static constexpr unsigned kRegionBuckets = 64;
  static constexpr std::uint32_t kMaxNumber = 0xfffffffe;
  static constexpr std::uint16_t kSequenceMask = 0x3fff;

  // An entry without its tag. `flag` and `sequence` (the low 14 bits) are for the caller.
  struct Entry {
    std::uint32_t number = 0;
    std::uint32_t sequence = 0;
    bool flag = false;
  };

  [[nodiscard]] static std::size_t bytes_for(std::size_t keys) noexcept {
    constexpr std::size_t kKeysPerRegion = kEntries * kRegionBuckets / 2;
    return (keys / kKeysPerRegion + 1) * sizeof(Region);
  }
  TagIndex(std::byte* area, std::size_t bytes)
      : buckets_(static_cast<std::uint32_t>(bytes / sizeof(Region) * kRegionBuckets)),
        bucket_(reinterpret_cast<Bucket*>(area)),
        locks_(std::make_unique<SpinLock[]>(buckets_ / kRegionBuckets)) {
    assert(reinterpret_cast<std::uintptr_t>(area) % sizeof(Region) == 0 && buckets_ > 0);
  }
  TagIndex(const TagIndex&) = delete;
  TagIndex& operator=(const TagIndex&) = delete;

  // Holds the locks of the regions of two keys (one lock if they share a region), taken in address order.
  class Guard {
   public:
    Guard(TagIndex& index, std::uint64_t hash) noexcept : Guard(index, hash, hash) {}
    Guard(TagIndex& index, std::uint64_t hash_a, std::uint64_t hash_b) noexcept
        : low_(&index.locks_[index.region_of(hash_a)]), high_(&index.locks_[index.region_of(hash_b)]) {
      if (low_ > high_) {
        std::swap(low_, high_);
      }
      low_->take();
      if (high_ != low_) {
        high_->take();
      }
    }
    ~Guard() {
      if (high_ != low_) {
        high_->release();
      }
      low_->release();
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    SpinLock* low_;
    SpinLock* high_;
  };

  // Prefetches the first bucket of a key and returns it, for guess().
  const void* prefetch(std::uint64_t hash) const noexcept {
    const Bucket* home = &bucket(home_of(hash));
    prefetch_line(home);
    return home;
  }

  // A bucket without entries, for guess().
  [[nodiscard]] static const void* empty_bucket() noexcept {
    static constexpr Bucket kEmpty{};
    return &kEmpty;
  }
  // The number plus one of the first entry of the key's first bucket, `home`, whose tag matches: almost always the
  // right one if the key is present. 0: none matches there, call find().
  [[nodiscard]] static std::uint32_t guess(const void* home, std::uint64_t hash) noexcept {
    const auto* first = static_cast<const Bucket*>(home);
    const unsigned matches = matching(*first, hash);
    if (matches == 0) {
      return 0;
    }
    return static_cast<std::uint32_t>(
        first->entries[static_cast<unsigned>(std::countr_zero(matches))].load(std::memory_order_acquire));
  }

  // After guess() has found nothing in `home`: no key of this bucket is in another one, so the key is absent.
  [[nodiscard]] static bool complete(const void* home) noexcept {
    return static_cast<const Bucket*>(home)->moved_out.load(std::memory_order_acquire) == 0;
  }

  // True: no key with this hash is present. False: unknown, call find().
  [[nodiscard]] bool definitely_absent(std::uint64_t hash) const noexcept {
    const Bucket& home = bucket(home_of(hash));
    return matching(home, hash) == 0 && home.moved_out.load(std::memory_order_acquire) == 0;
  }

  // Calls match(Entry) for each entry whose tag matches, until it returns true. Returns whether one did.
  template <typename Match>
  bool find(std::uint64_t hash, Match&& match) const noexcept {
    const BucketId home = home_of(hash);
    const Bucket& first = bucket(home);
    if (scan(first, hash, match)) {
      return true;
    }
    // Read after the entries: an entry is stored in the other bucket and counted before it is erased here.
    if (first.moved_out.load(std::memory_order_acquire) == 0) [[likely]] {
      return false;
    }
    return scan(bucket(other_bucket(home, tag_of(hash))), hash, match);
  }

  // Inside a Guard: a free entry of the key's first bucket, if certainly no key with this hash is present. nullptr: not
  // known, call find() and insert().
  [[nodiscard]] std::atomic<std::uint64_t>* vacancy(std::uint64_t hash) const noexcept {
    Bucket& home = bucket(home_of(hash));
    const unsigned free = empty(home);
    if (matching(home, hash) != 0 || home.moved_out.load(std::memory_order_acquire) != 0 || free == 0) [[unlikely]] {
      return nullptr;
    }
    return &home.entries[static_cast<unsigned>(std::countr_zero(free))];
  }
  // Inside the same Guard, instead of insert().
  static void fill(std::atomic<std::uint64_t>& vacancy, std::uint64_t hash, const Entry& entry) noexcept {
    vacancy.store(pack(hash, entry), std::memory_order_release);
  }
  // Inside a Guard. False when there is no room. Does not check for duplicates.
  [[nodiscard]] bool insert(std::uint64_t hash, const Entry& entry) noexcept {
    const BucketId home = home_of(hash);
    const std::uint64_t word = pack(hash, entry);
    if (put(bucket(home), word)) {
      return true;
    }
    const BucketId alternate = other_bucket(home, tag_of(hash));
    if (put_in_other_bucket(home, alternate, word)) {
      return true;
    }
    if (make_room(home)) {
      return put(bucket(home), word);
    }
    return make_room(alternate) && put_in_other_bucket(home, alternate, word);
  }

  // Inside a Guard. False when exactly this entry is not present.
  bool erase(std::uint64_t hash, const Entry& entry) noexcept {
    const BucketId home = home_of(hash);
    const std::uint64_t word = pack(hash, entry);
    if (replace(bucket(home), word, 0)) {
      return true;
    }
    if (!replace(bucket(other_bucket(home, tag_of(hash))), word | kMoved, 0)) {
      return false;
    }
    count_moved(home, -1);
    return true;
  }

 private:
  // Entry word: number + 1 (32 bits; 0: empty), tag (16), sequence (14), moved (1: in its other bucket), flag (1).
  static constexpr unsigned kTagShift = 32;
  static constexpr unsigned kSequenceShift = 48;
  static constexpr std::uint64_t kTagMask = 0xffffULL << kTagShift;
  static constexpr std::uint64_t kMoved = 1ULL << 62;
  static constexpr std::uint64_t kFlag = 1ULL << 63;

  struct alignas(64) Bucket {
    std::array<std::atomic<std::uint64_t>, kEntries> entries;
    std::atomic<std::uint64_t> moved_out;  // entries whose first bucket this is, but that are in their other one
  };
  static_assert(sizeof(Bucket) == 64);
  struct alignas(4096) Region {
    std::array<Bucket, kRegionBuckets> buckets;
  };
  static_assert(sizeof(Region) == 4096);
  using BucketId = std::uint32_t;  // regions are consecutive

  [[nodiscard]] std::uint32_t region_of(std::uint64_t hash) const noexcept { return home_of(hash) / kRegionBuckets; }
  [[nodiscard]] BucketId home_of(std::uint64_t hash) const noexcept {
    return static_cast<BucketId>(((hash >> 32) * buckets_) >> 32);
  }
  [[nodiscard]] static std::uint64_t tag_of(std::uint64_t hash) noexcept { return (hash >> 6) & 0xffff; }
  // The other one of a key's two buckets: depends on the tag only, and is its own inverse.
  [[nodiscard]] static BucketId other_bucket(BucketId id, std::uint64_t tag) noexcept {
    const auto distance = static_cast<std::uint32_t>((tag * (kRegionBuckets - 1)) >> 16) + 1;
    return id ^ distance;
  }
  [[nodiscard]] Bucket& bucket(BucketId id) const noexcept { return bucket_[id]; }

  [[nodiscard]] static std::uint64_t pack(std::uint64_t hash, const Entry& entry) noexcept {
    assert(entry.number <= kMaxNumber);
    return (std::uint64_t{entry.number} + 1) | tag_of(hash) << kTagShift |
           std::uint64_t{entry.sequence & kSequenceMask} << kSequenceShift | (entry.flag ? kFlag : 0);
  }
  [[nodiscard]] static Entry unpack(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word) - 1, static_cast<std::uint32_t>(word >> kSequenceShift) & kSequenceMask,
            (word & kFlag) != 0};
  }

  template <typename Match>
  [[nodiscard]] static bool scan(const Bucket& bucket, std::uint64_t hash, Match& match) noexcept {
    const std::uint64_t tag = tag_of(hash) << kTagShift;
    for (unsigned matches = matching(bucket, hash); matches != 0; matches &= matches - 1) {
      const auto slot = static_cast<unsigned>(std::countr_zero(matches));
      const std::uint64_t word = bucket.entries[slot].load(std::memory_order_acquire);
      if ((word & kTagMask) == tag && word != 0 && match(unpack(word))) {
        return true;
      }
    }
    return false;
  }
  // The upper 32 bits of the four entries in two quarters of a cache line; the lower half of each is the tag.
  [[nodiscard]] __attribute__((no_sanitize("thread"))) static __m128i uppers(const __m128i* quarters) noexcept {
    return _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(_mm_load_si128(quarters)),
                                           _mm_castsi128_ps(_mm_load_si128(quarters + 1)), _MM_SHUFFLE(3, 1, 3, 1)));
  }
  // The same for the lower 32 bits, which are 0 in an empty entry only.
  [[nodiscard]] __attribute__((no_sanitize("thread"))) static __m128i lowers(const __m128i* quarters) noexcept {
    return _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(_mm_load_si128(quarters)),
                                           _mm_castsi128_ps(_mm_load_si128(quarters + 1)), _MM_SHUFFLE(2, 0, 2, 0)));
  }
  [[nodiscard]] static unsigned mask_of(__m128i first_four, __m128i others) noexcept {
    return static_cast<unsigned>(
               _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(first_four, others), _mm_setzero_si128()))) &
           ((1u << kEntries) - 1);
  }
  // One bit per empty entry.
  [[nodiscard]] __attribute__((no_sanitize("thread"))) static unsigned empty(const Bucket& bucket) noexcept {
    const auto* quarters = reinterpret_cast<const __m128i*>(&bucket);
    const __m128i none = _mm_setzero_si128();
    return mask_of(_mm_cmpeq_epi32(lowers(quarters), none), _mm_cmpeq_epi32(lowers(quarters + 2), none));
  }
  // One bit per entry with the hash's tag, including empty entries if the tag is 0. All seven are compared, because the
  // position is random and a mispredicted branch costs more than six comparisons. The line is loaded in 16-byte
  // quarters; x86 reads each aligned 8-byte half atomically in practice, and callers load an entry again before they
  // use it. ThreadSanitizer cannot model such loads.
  [[nodiscard]] __attribute__((no_sanitize("thread"))) static unsigned matching(const Bucket& bucket,
                                                                                std::uint64_t hash) noexcept {
    static_assert(kTagShift == 32 && kEntries == 7);
    const auto* quarters = reinterpret_cast<const __m128i*>(&bucket);
    const __m128i tag = _mm_set1_epi32(static_cast<int>(tag_of(hash)));
    const __m128i tags = _mm_set1_epi32(0xffff);
    const __m128i low = _mm_cmpeq_epi32(_mm_and_si128(uppers(quarters), tags), tag);
    const __m128i high = _mm_cmpeq_epi32(_mm_and_si128(uppers(quarters + 2), tags), tag);
    return mask_of(low, high);
  }

  [[nodiscard]] static bool replace(Bucket& bucket, std::uint64_t word, std::uint64_t by) noexcept {
    for (auto& entry : bucket.entries) {
      if (entry.load(std::memory_order_relaxed) == word) {
        entry.store(by, std::memory_order_release);
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] static bool put(Bucket& bucket, std::uint64_t word) noexcept { return replace(bucket, 0, word); }
  [[nodiscard]] bool put_in_other_bucket(BucketId home, BucketId alternate, std::uint64_t word) noexcept {
    if (!put(bucket(alternate), word | kMoved)) {
      return false;
    }
    count_moved(home, 1);
    return true;
  }
  void count_moved(BucketId home, int by) noexcept {
    auto& count = bucket(home).moved_out;
    count.store(count.load(std::memory_order_relaxed) + static_cast<std::uint64_t>(by), std::memory_order_release);
  }
  // Moves one entry of a full bucket to its other bucket. Readers find it in one of the two, or may miss it briefly
  // when it returns to its first bucket.
  [[nodiscard]] bool make_room(BucketId full) noexcept {
    for (auto& entry : bucket(full).entries) {
      const std::uint64_t word = entry.load(std::memory_order_relaxed);
      const BucketId target = other_bucket(full, (word & kTagMask) >> kTagShift);
      const bool returns_home = (word & kMoved) != 0;
      if (!put(bucket(target), word ^ kMoved)) {
        continue;
      }
      if (!returns_home) {
        count_moved(full, 1);
      }
      entry.store(0, std::memory_order_release);
      if (returns_home) {
        count_moved(target, -1);
      }
      return true;
    }
    return false;
  }

  std::uint32_t buckets_;
  Bucket* bucket_;
  std::unique_ptr<SpinLock[]> locks_;
};

}  // namespace isthmus
