#include "dataplane/packet/frame.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "dataplane/base/memory_area.h"

namespace isthmus {
namespace {
struct Area {
  void* address = MAP_FAILED;
  FramePages pages = FramePages::kOrdinary;
};

Area map_area(std::size_t length, FramePages wish) {
  if (wish == FramePages::kReserved) {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE;
    void* area = mmap(nullptr, length, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (area != MAP_FAILED) {
      return {area, FramePages::kReserved};
    }
  }
  Area area{map_aligned(length)};
  if (area.address == MAP_FAILED) {
    return area;
  }
  const bool wants_huge = wish != FramePages::kOrdinary;
  if (madvise(area.address, length, wants_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0 && wants_huge) {
    area.pages = FramePages::kTransparent;
  }
  // Optional: populates the pages now, so that workers take no page faults later.
  static_cast<void>(madvise(area.address, length, MADV_POPULATE_WRITE));
  return area;
}

}  // namespace

Result<std::unique_ptr<FramePool>> FramePool::create(const Options& options) {
  if (options.chunk_bytes != 2048 && options.chunk_bytes != 4096) {
    return Error{"invalid chunk size of " + std::to_string(options.chunk_bytes) + " bytes", "frame pool",
                 "use 2048 or 4096, the chunk sizes of an AF_XDP UMEM"};
  }
  if (options.chunks == 0 || options.chunks >= kNoChunk / 2) {
    return Error{"invalid number of frames " + std::to_string(options.chunks), "frame pool",
                 "use between 1 and " + std::to_string(kNoChunk / 2 - 1)};
  }
  const std::size_t bytes = std::size_t{options.chunks} * options.chunk_bytes;
  // Always a multiple of the huge page size, so that the length is the same for every kind of page.
  const Area area = map_area(whole_huge_pages(bytes), options.pages);
  if (area.address == MAP_FAILED) {
    return Error{"cannot allocate " + std::to_string(bytes >> 20) + " MiB for frames: " + std::strerror(errno),
                 "frame pool", "lower engine.frames or add memory"};
  }
  std::unique_ptr<FramePool> pool(new FramePool);
  pool->base_ = static_cast<std::uint8_t*>(area.address);
  pool->bytes_ = bytes;
  pool->chunk_bytes_ = options.chunk_bytes;
  pool->chunks_ = options.chunks;
  pool->free_count_ = options.chunks;
  pool->pages_ = area.pages;
  pool->free_ = std::make_unique<std::uint32_t[]>(options.chunks);
  for (std::uint32_t i = 0; i < options.chunks; ++i) {
    pool->free_[i] = options.chunks - 1 - i;
  }
  return pool;
}

FramePool::~FramePool() {
  if (base_ != nullptr) {
    munmap(base_, whole_huge_pages(bytes_));
  }
}

}  // namespace isthmus
