#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <set>

#include "dataplane/packet/frame.h"

namespace isthmus {
namespace {

TEST(FramePoolTest, LongChunksAreBesideTheOthers) {
  auto created = FramePool::create({.chunks = 4, .chunk_bytes = 4096, .long_chunks = 2});
  ASSERT_TRUE(created.ok());
  FramePool& pool = **created;
  EXPECT_EQ(pool.max_short_frame(), 4096u - kFrameHeadroom);
  EXPECT_EQ(pool.max_frame(), 3 * 4096u - kFrameHeadroom);
  EXPECT_EQ(pool.numbers(), 10u);
  EXPECT_EQ(pool.bytes(), 10u * 4096);
  const std::uint32_t first = pool.allocate_for(pool.max_short_frame() + 1), second = pool.allocate_long();
  EXPECT_EQ(pool.allocate_long(), kNoChunk);
  EXPECT_EQ(pool.available(), 4u);
  const std::set<std::uint32_t> both{first, second};
  EXPECT_EQ(both, (std::set<std::uint32_t>{4, 7}));
  for (const std::uint32_t part : {4u, 5u, 6u}) {
    EXPECT_TRUE(pool.is_long(part));
    EXPECT_EQ(pool.long_of(part), 4u);
  }
  EXPECT_EQ(pool.long_of(9), 7u);
  EXPECT_FALSE(pool.is_long(3));
  std::memset(pool.chunk_start(7), 0xff, 3 * 4096);  // the last bytes are the pool's
  pool.release(first);
  pool.release(second);
  EXPECT_EQ(pool.long_available(), 2u);
  EXPECT_EQ(pool.available(), 4u);
  EXPECT_LT(pool.allocate_for(pool.max_short_frame()), 4u);
}

TEST(FramePool, EachChunkIsAllocatedOnceUntilThePoolIsEmpty) {
  auto pool = FramePool::create({.chunks = 100, .chunk_bytes = 2048});
  ASSERT_TRUE(pool.ok()) << pool.error().text();
  std::set<std::uint32_t> seen;
  for (unsigned i = 0; i < 100; ++i) {
    EXPECT_TRUE(seen.insert((*pool)->allocate()).second);
  }
  EXPECT_LT(*seen.rbegin(), 100u);
  EXPECT_EQ((*pool)->allocate(), kNoChunk);
  EXPECT_EQ((*pool)->available(), 0u);
  (*pool)->release(7);
  EXPECT_EQ((*pool)->allocate(), 7u);
}

TEST(FramePool, TheAreaIsPageAlignedAndWritableThroughout) {
  for (const FramePages pages : {FramePages::kReserved, FramePages::kTransparent, FramePages::kOrdinary}) {
    auto pool = FramePool::create({.chunks = 600, .chunk_bytes = 4096, .pages = pages});
    ASSERT_TRUE(pool.ok()) << pool.error().text();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*pool)->base()) % 4096, 0u);
    EXPECT_EQ((*pool)->bytes(), 600u * 4096u);
    (*pool)->chunk_start(0)[0] = 1;
    (*pool)->chunk_start(599)[4095] = 1;
    EXPECT_EQ((*pool)->chunk_start(599) + 4096, (*pool)->base() + (*pool)->bytes());
    EXPECT_EQ((*pool)->max_frame(), 4096u - kFrameHeadroom);
  }
}

TEST(FramePool, PageKindsFallBackFromTheRequestedOneOn) {
  constexpr std::uint32_t kHugePage = 2U << 20;
  const auto got = [](FramePages requested) {
    const auto pool = FramePool::create({.chunks = 600, .chunk_bytes = 4096, .pages = requested});
    EXPECT_TRUE(pool.ok()) << pool.error().text();
    // Aligned so that huge pages can back it, now or later.
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*pool)->base()) % kHugePage, 0u);
    return (*pool)->pages();
  };
  EXPECT_EQ(got(FramePages::kOrdinary), FramePages::kOrdinary);
  EXPECT_NE(got(FramePages::kTransparent), FramePages::kReserved);
  if (got(FramePages::kReserved) != FramePages::kReserved) {  // too few are reserved
    EXPECT_EQ(got(FramePages::kReserved), got(FramePages::kTransparent));
  }
}

TEST(FramePool, AnotherProcessAdoptsTheMemoryWithWhatLiesInItAndNoFreeChunk) {
  for (const FramePages pages : {FramePages::kReserved, FramePages::kTransparent, FramePages::kOrdinary}) {
    const FramePool::Options options{.chunks = 600, .chunk_bytes = 4096, .pages = pages};
    auto pool = FramePool::create(options);
    ASSERT_TRUE(pool.ok()) << pool.error().text();
    (*pool)->chunk_start(599)[4095] = 77;
    auto adopted = FramePool::adopt(dup((*pool)->memory()), options);
    ASSERT_TRUE(adopted.ok()) << adopted.error().text();
    EXPECT_NE((*adopted)->base(), (*pool)->base());
    (*pool)->chunk_start(0)[0] = 78;
    EXPECT_EQ((*adopted)->chunk_start(599)[4095], 77);
    EXPECT_EQ((*adopted)->chunk_start(0)[0], 78);
    EXPECT_EQ((*adopted)->allocate(), kNoChunk);
    EXPECT_EQ((*adopted)->pages() == FramePages::kReserved, (*pool)->pages() == FramePages::kReserved);
    pool = Error{"gone"};
    EXPECT_EQ((*adopted)->chunk_start(599)[4095], 77);
  }
}

TEST(FramePool, MemoryOfAnotherSizeIsNotAdopted) {
  auto pool = FramePool::create({.chunks = 600, .chunk_bytes = 4096});
  ASSERT_TRUE(pool.ok()) << pool.error().text();
  EXPECT_FALSE(FramePool::adopt(dup((*pool)->memory()), {.chunks = 1600, .chunk_bytes = 4096}).ok());
  EXPECT_FALSE(FramePool::adopt(-1, {.chunks = 600, .chunk_bytes = 4096}).ok());
}

TEST(FramePool, SizesThatAUmemCannotHaveAreErrorsWithAFix) {
  for (const FramePool::Options& bad :
       {FramePool::Options{.chunks = 16, .chunk_bytes = 8192}, FramePool::Options{.chunks = 0},
        FramePool::Options{.chunks = 16, .chunk_bytes = 3000}}) {
    const auto pool = FramePool::create(bad);
    ASSERT_FALSE(pool.ok());
    EXPECT_FALSE(pool.error().fix.empty());
  }
}

TEST(FramePool, TooLittleMemoryIsAnErrorNotACrash) {
  const auto pool = FramePool::create({.chunks = 2'000'000'000, .chunk_bytes = 4096});
  ASSERT_FALSE(pool.ok());
  EXPECT_NE(pool.error().text().find("MiB"), std::string::npos);
}

}  // namespace
}  // namespace isthmus
