#include "dataplane/conntrack/tag_index.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "dataplane/base/memory_area.h"
#include "dataplane/packet/flow_key.h"

namespace isthmus {
namespace {

struct Fixture {
  explicit Fixture(std::size_t keys)
      : area(std::move(*MemoryArea::anonymous(TagIndex::bytes_for(keys)))), index(area.data(), area.bytes()) {}
  MemoryArea area;
  TagIndex index;
};

std::uint64_t hash_of(std::uint64_t n) {
  return flow_hash::mix(n ^ 0x1234567, 0xa0761d6478bd642fULL) * 0x9e3779b97f4a7c15ULL;
}

std::optional<TagIndex::Entry> lookup(const TagIndex& index, std::uint64_t hash, std::uint32_t number) {
  std::optional<TagIndex::Entry> found;
  index.find(hash, [&](const TagIndex::Entry& e) {
    if (e.number == number) {
      found = e;
    }
    return found.has_value();
  });
  return found;
}

bool insert(TagIndex& index, std::uint64_t hash, std::uint32_t number) {
  const TagIndex::Guard guard(index, hash);
  return index.insert(hash, {number, number, (number & 1) != 0});
}

bool erase(TagIndex& index, std::uint64_t hash, std::uint32_t number) {
  const TagIndex::Guard guard(index, hash);
  return index.erase(hash, {number, number, (number & 1) != 0});
}

TEST(TagIndex, FindsInsertedEntriesWithAllFields) {
  Fixture f(100);
  EXPECT_FALSE(lookup(f.index, hash_of(1), 0));
  ASSERT_TRUE(insert(f.index, hash_of(1), 0)) << "number 0 is valid";
  ASSERT_TRUE(insert(f.index, hash_of(2), 0x3fff));
  ASSERT_TRUE(insert(f.index, hash_of(3), TagIndex::kMaxNumber));
  const auto found = lookup(f.index, hash_of(2), 0x3fff);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->sequence, 0x3fffu);
  EXPECT_TRUE(found->flag);
  EXPECT_TRUE(lookup(f.index, hash_of(1), 0));
  EXPECT_TRUE(lookup(f.index, hash_of(3), TagIndex::kMaxNumber));
}

TEST(TagIndex, EraseRemovesOnlyTheExactEntry) {
  Fixture f(100);
  ASSERT_TRUE(insert(f.index, hash_of(1), 5));
  {
    const TagIndex::Guard guard(f.index, hash_of(1));
    EXPECT_FALSE(f.index.erase(hash_of(1), {5, 6, true})) << "another sequence";
    EXPECT_FALSE(f.index.erase(hash_of(1), {5, 5, false})) << "another flag";
    EXPECT_FALSE(f.index.erase(hash_of(1), {4, 5, true})) << "another number";
  }
  EXPECT_TRUE(erase(f.index, hash_of(1), 5));
  EXPECT_FALSE(erase(f.index, hash_of(1), 5));
  EXPECT_FALSE(lookup(f.index, hash_of(1), 5));
}

TEST(TagIndex, HoldsAllKeysItWasSizedForAndErasesThemAll) {
  constexpr std::uint32_t kKeys = 200'000;
  Fixture f(kKeys);
  for (std::uint32_t n = 0; n < kKeys; ++n) {
    ASSERT_TRUE(insert(f.index, hash_of(n), n)) << n;
  }
  for (std::uint32_t n = 0; n < kKeys; ++n) {
    ASSERT_TRUE(lookup(f.index, hash_of(n), n)) << n;
  }
  for (std::uint32_t n = 0; n < kKeys; ++n) {
    ASSERT_TRUE(erase(f.index, hash_of(n), n)) << n;
    ASSERT_FALSE(lookup(f.index, hash_of(n), n)) << n;
  }
  // The area is zero again, overflow counts included.
  for (std::size_t i = 0; i < f.area.bytes(); ++i) {
    ASSERT_EQ(f.area.data()[i], std::byte{0}) << "byte " << i;
  }
}

TEST(TagIndex, KeysOfOneBucketOverflowIntoTheOtherAndAreThenRejected) {
  Fixture f(10);
  const std::uint64_t hash = hash_of(1);
  std::uint32_t inserted = 0;
  while (insert(f.index, hash, inserted)) {
    ++inserted;
  }
  EXPECT_EQ(inserted, 2 * TagIndex::kEntries) << "one hash has exactly two buckets";
  for (std::uint32_t n = 0; n < inserted; ++n) {
    EXPECT_TRUE(lookup(f.index, hash, n));
  }
  EXPECT_TRUE(erase(f.index, hash, 12));
  EXPECT_TRUE(insert(f.index, hash, 99));
  EXPECT_TRUE(lookup(f.index, hash, 99));
}

TEST(TagIndex, FullBucketsMakeRoomByMovingEntries) {
  // At 90 % of all slots, far above the load it is sized for, nearly every insert has to move other entries.
  constexpr std::uint32_t kSlots = 8 * TagIndex::kEntries * TagIndex::kRegionBuckets;
  Fixture f(kSlots / 2 - 1);
  std::vector<std::uint32_t> in;
  for (std::uint32_t n = 0; n < kSlots * 9 / 10; ++n) {
    if (insert(f.index, hash_of(n), n)) {
      in.push_back(n);
    }
  }
  EXPECT_GT(in.size(), kSlots * 85 / 100);
  for (const std::uint32_t n : in) {
    ASSERT_TRUE(lookup(f.index, hash_of(n), n)) << n;
  }
  for (const std::uint32_t n : in) {
    ASSERT_TRUE(erase(f.index, hash_of(n), n)) << n;
  }
  for (std::size_t i = 0; i < f.area.bytes(); ++i) {
    ASSERT_EQ(f.area.data()[i], std::byte{0}) << "byte " << i;
  }
}

}  // namespace
}  // namespace isthmus
