// MemoryArea: a page-aligned stretch of memory of our own, zeroed, on huge pages where the system gives them.
// Owner: whoever made it; unmapped with it. Thread: make and destroy by control, contents are the owner's business.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "dataplane/base/result.h"

namespace isthmus {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// `bytes` rounded up to whole huge pages.
[[nodiscard]] constexpr std::size_t whole_huge_pages(std::size_t bytes) noexcept {
  return (bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
}

// Anonymous memory that begins where a huge page does, so that huge ones can take its pages' places; `bytes` is a
// multiple of kHugePageBytes. MAP_FAILED when there is none. The caller's to unmap.
[[nodiscard]] void* map_aligned(std::size_t bytes) noexcept;

class MemoryArea {
 public:
  MemoryArea() = default;
  // Anonymous memory; transparent huge pages are asked for, not required.
  [[nodiscard]] static Result<MemoryArea> anonymous(std::size_t bytes) {
    return map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  }
  // The first `bytes` of an open file, shared with it.
  [[nodiscard]] static Result<MemoryArea> of_file(int file, std::size_t bytes) { return map(bytes, MAP_SHARED, file); }

  MemoryArea(MemoryArea&& other) noexcept
      : start_(std::exchange(other.start_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryArea& operator=(MemoryArea&& other) noexcept {
    std::swap(start_, other.start_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MemoryArea() {
    if (start_ != nullptr) {
      munmap(start_, bytes_);
    }
  }

  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(start_); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  // How much of it lies on huge pages now. Reads a file that may be long: once, by control.
  [[nodiscard]] std::size_t huge_page_bytes() const;

 private:
  [[nodiscard]] static Result<MemoryArea> map(std::size_t bytes, int flags, int file) {
    MemoryArea area;
    void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
    if (start == MAP_FAILED) {
      return Error{"cannot map " + std::to_string(bytes >> 20) + " MiB: " + std::strerror(errno),
                   {},
                   "give the process more memory, or make the table smaller"};
    }
    area.start_ = start;
    area.bytes_ = bytes;
    madvise(start, bytes, MADV_HUGEPAGE);
    // Every page now, so that none costs a packet a fault. Kernels before 5.14 do not know how: there, on first use.
    if (madvise(start, bytes, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
      return Error{"cannot reserve " + std::to_string(bytes >> 20) + " MiB: " + std::strerror(errno),
                   {},
                   "give the process or the file system more memory, or make the table smaller"};
    }
    return area;
  }

  void* start_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace isthmus
