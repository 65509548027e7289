#include "dataplane/base/huge_page_allocator.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "dataplane/base/memory_area.h"

namespace isthmus {
namespace {

constexpr std::size_t kRing = 16381, kRings = 200;

// Whether the kernel has been advised to use huge pages at `address` (proc(5), smaps: VmFlags).
bool asked_for_huge_pages(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::uintptr_t from = 0, to = 0;
    char dash = 0;
    if (words >> std::hex >> from >> dash >> to && dash == '-') {
      here = from <= reinterpret_cast<std::uintptr_t>(address) && reinterpret_cast<std::uintptr_t>(address) < to;
    } else if (here && line.starts_with("VmFlags:")) {
      return line.find(" hg") != std::string::npos;
    }
  }
  return false;
}

TEST(HugePageAllocator, TablesShareHugePages) {
  std::vector<HugePageVector<std::uint16_t>> rings(kRings, HugePageVector<std::uint16_t>(kRing, 1));
  std::set<std::uintptr_t> pages;
  for (const auto& ring : rings) {
    EXPECT_TRUE(asked_for_huge_pages(ring.data()));
    pages.insert(reinterpret_cast<std::uintptr_t>(ring.data()) / kHugePageBytes);
  }
  EXPECT_LE(pages.size(), 2 * kRings * kRing * sizeof(std::uint16_t) / kHugePageBytes);
}

TEST(HugePageAllocator, FreedMemoryIsReused) {
  // The last size is the largest that shares a mapping with others.
  for (const std::size_t bytes : {std::size_t{320}, std::size_t{40'000}, kHugePageBytes / 2}) {
    std::set<const void*> addresses;
    for (unsigned n = 0; n < 1000; ++n) {
      addresses.insert(HugePageVector<std::uint8_t>(bytes).data());
    }
    EXPECT_EQ(addresses.size(), 1U) << bytes;
  }
}

TEST(HugePageAllocator, LargeTablesAreAlignedToAHugePage) {
  HugePageVector<std::uint32_t> heads(kHugePageBytes, 7);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(heads.data()) % kHugePageBytes, 0U);
  EXPECT_TRUE(asked_for_huge_pages(heads.data()));
  heads.resize(2 * kHugePageBytes, 9);
  EXPECT_EQ(heads.front(), 7U);
  EXPECT_EQ(heads[kHugePageBytes], 9U);
}

TEST(HugePageAllocator, ThreadsAllocateAndFreeConcurrently) {
  const auto work = [](std::uint32_t first) {
    for (std::uint32_t n = 0; n < 2000; ++n) {
      HugePageVector<std::uint32_t> numbers(1 + n % 300);
      std::iota(numbers.begin(), numbers.end(), first);
      ASSERT_EQ(numbers.back(), first + numbers.size() - 1);
    }
  };
  std::thread other([&] { work(1'000'000); });
  work(0);
  other.join();
}

}  // namespace
}  // namespace isthmus
