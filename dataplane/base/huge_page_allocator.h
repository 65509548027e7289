// An allocator for tables that packets access at random: elements are packed on huge pages where available, to avoid
// TLB misses. Freed blocks are re-used for blocks of the same size; memory is not returned to the system. Threads: any
// except workers, because it may lock and map memory.
#pragma once

#include <cstddef>
#include <vector>

namespace isthmus {

// Aborts the process when out of memory, as `new` does in the data plane.
[[nodiscard]] void* allocate_on_huge_pages(std::size_t bytes, std::size_t alignment);
void free_on_huge_pages(void* start, std::size_t bytes, std::size_t alignment) noexcept;

template <class T>
struct HugePageAllocator {
  using value_type = T;
  HugePageAllocator() noexcept = default;
  template <class U>
  explicit(false) HugePageAllocator(const HugePageAllocator<U>& /*other*/) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    return static_cast<T*>(allocate_on_huge_pages(count * sizeof(T), alignof(T)));
  }
  void deallocate(T* start, std::size_t count) noexcept { free_on_huge_pages(start, count * sizeof(T), alignof(T)); }
  friend bool operator==(const HugePageAllocator&, const HugePageAllocator&) noexcept { return true; }
};

template <class T>
using HugePageVector = std::vector<T, HugePageAllocator<T>>;

}  // namespace isthmus
