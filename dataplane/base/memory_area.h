// MemoryArea: a zeroed, page-aligned memory mapping, on huge pages where available. Unmapped by the destructor.
// Threads: created and destroyed by control; the owner decides who uses the contents.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "dataplane/base/result.h"

namespace isthmus {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// `bytes` rounded up to a multiple of the huge page size.
[[nodiscard]] constexpr std::size_t whole_huge_pages(std::size_t bytes) noexcept {
  return (bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
}

// Anonymous memory aligned to a huge page, so that the kernel can back it with huge pages. `bytes` is a multiple of
// kHugePageBytes. MAP_FAILED on failure. The caller unmaps it.
[[nodiscard]] void* map_aligned(std::size_t bytes) noexcept;

class MemoryArea {
 public:
  MemoryArea() = default;
  // Anonymous memory; transparent huge pages are requested, not required.
  [[nodiscard]] static Result<MemoryArea> anonymous(std::size_t bytes) {
    return map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  }
  // A shared mapping of the first `bytes` of an open file.
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
  // Bytes on huge pages now. Parses /proc/self/smaps, which may be long: call rarely, from control only.
  [[nodiscard]] std::size_t huge_page_bytes() const;

 private:
  [[nodiscard]] static Result<MemoryArea> map(std::size_t bytes, int flags, int file) {
    MemoryArea area;
    void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
    if (start == MAP_FAILED) {
      return Error{"cannot map " + std::to_string(bytes >> 20) + " MiB: " + std::strerror(errno),
                   {},
                   "give the process more memory, or reduce the size of the tables (engine.connections)"};
    }
    area.start_ = start;
    area.bytes_ = bytes;
    madvise(start, bytes, MADV_HUGEPAGE);
    // Populate all pages now, so that no packet pays for a page fault. Before Linux 5.14 (EINVAL), pages are populated
    // on first use.
    if (madvise(start, bytes, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
      return Error{
          "cannot reserve " + std::to_string(bytes >> 20) + " MiB: " + std::strerror(errno),
          {},
          "give the process or the file system more memory, or reduce the size of the tables (engine.connections)"};
    }
    return area;
  }

  void* start_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace isthmus
