// An allocator for tables that packets read at random: their elements lie side by side on huge pages where the system
// gives them, so that a read seldom waits for an address translation. Elements of one size re-use what is freed; the
// memory stays with the process. Any thread, but none that handles packets: it may lock and map.
#pragma once

#include <cstddef>
#include <vector>

namespace isthmus {

// Ends the process when the system has no more memory, as `new` does in the data plane.
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
