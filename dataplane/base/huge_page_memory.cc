#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <mutex>

#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/memory_area.h"

namespace isthmus {
namespace {

constexpr std::size_t kLargestPooled = kHugePageBytes / 2;  // larger blocks get their own mapping

// Mappings aligned to huge pages at both ends.
class HugePages final : public std::pmr::memory_resource {
  void* do_allocate(std::size_t bytes, std::size_t /*alignment*/) override {
    const std::size_t length = whole_huge_pages(bytes);
    void* start = map_aligned(length);
    if (start == MAP_FAILED) {
      std::perror("isthmus: tables: cannot map memory");
      std::abort();
    }
    static_cast<void>(madvise(start, length, MADV_HUGEPAGE));  // failure is harmless: ordinary pages work too
    return start;
  }
  void do_deallocate(void* start, std::size_t bytes, std::size_t /*alignment*/) override {
    munmap(start, whole_huge_pages(bytes));
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

struct Memory {
  std::mutex mutex;
  HugePages pages;
  std::pmr::monotonic_buffer_resource chunks{kHugePageBytes - 64,
                                             &pages};  // one huge page including the resource's own header
  std::pmr::unsynchronized_pool_resource pool{
      {.max_blocks_per_chunk = 0, .largest_required_pool_block = kLargestPooled}, &chunks};
};

// Never destroyed: tables with static lifetime may be destroyed later than any static object here.
Memory& memory() {
  static Memory& instance = *new Memory;
  return instance;
}

}  // namespace

void* allocate_on_huge_pages(std::size_t bytes, std::size_t alignment) {
  Memory& from = memory();
  const std::lock_guard lock(from.mutex);
  return bytes > kLargestPooled ? from.pages.allocate(bytes, alignment) : from.pool.allocate(bytes, alignment);
}

void free_on_huge_pages(void* start, std::size_t bytes, std::size_t alignment) noexcept {
  Memory& to = memory();
  const std::lock_guard lock(to.mutex);
  if (bytes > kLargestPooled) {
    to.pages.deallocate(start, bytes, alignment);
  } else {
    to.pool.deallocate(start, bytes, alignment);
  }
}

}  // namespace isthmus
