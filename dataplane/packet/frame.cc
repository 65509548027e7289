#include "dataplane/packet/frame.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#include "dataplane/base/memory_area.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace isthmus {
namespace {
struct Area {
  int memory = -1;
  void* address = MAP_FAILED;
  FramePages pages = FramePages::kOrdinary;
};

// Maps the memory at an address that huge pages can be mapped at.
void* map_memory(int memory, std::size_t length) {
  void* area = map_aligned(length);
  if (area == MAP_FAILED) {
    return area;
  }
  void* mapped = mmap(area, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0);
  if (mapped == MAP_FAILED) {
    munmap(area, length);
  }
  return mapped;
}

Area map_area(std::size_t length, FramePages wish) {
  constexpr const char* kName = "isthmus-frames";
  if (wish == FramePages::kReserved) {
    const int memory = memfd_create(kName, MFD_CLOEXEC | MFD_HUGETLB);
    if (memory >= 0 && ftruncate(memory, static_cast<off_t>(length)) == 0) {
      void* area = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory, 0);
      if (area != MAP_FAILED) {
        return {memory, area, FramePages::kReserved};
      }
    }
    close(memory);
  }
  Area area{memfd_create(kName, MFD_CLOEXEC)};
  if (area.memory < 0 || ftruncate(area.memory, static_cast<off_t>(length)) != 0) {
    return area;
  }
  area.address = map_memory(area.memory, length);
  if (area.address == MAP_FAILED) {
    return area;
  }
  const bool wants_huge = wish != FramePages::kOrdinary;
  static_cast<void>(madvise(area.address, length, wants_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
  // Optional: populates the pages now, so that workers take no page faults later.
  static_cast<void>(madvise(area.address, length, MADV_POPULATE_WRITE));
  // Shared memory has huge pages of its own accord only where the administrator says so (shmem_enabled).
  if (wants_huge && madvise(area.address, length, MADV_COLLAPSE) == 0) {
    area.pages = FramePages::kTransparent;
  }
  return area;
}

[[nodiscard]] std::size_t bytes_of(const FramePool::Options& options) {
  return (std::size_t{options.chunks} + std::size_t{options.long_chunks} * kChunksOfLong) * options.chunk_bytes;
}

}  // namespace

Status FramePool::check(const Options& options) {
  if (options.chunk_bytes != 2048 && options.chunk_bytes != 4096) {
    return Error{"invalid chunk size of " + std::to_string(options.chunk_bytes) + " bytes", "frame pool",
                 "use 2048 or 4096, the chunk sizes of an AF_XDP UMEM"};
  }
  if (options.chunks == 0 || options.chunks >= kNoChunk / 2 || options.long_chunks > kNoChunk / 8) {
    return Error{"invalid number of frames " + std::to_string(options.chunks), "frame pool",
                 "use between 1 and " + std::to_string(kNoChunk / 2 - 1)};
  }
  const std::uint32_t moved = options.reserved + (options.staggered - 1) * kCacheLineBytes;
  if (!std::has_single_bit(options.staggered) || moved + kFrameHeadroom >= options.chunk_bytes) {
    return Error{"frames that begin " + std::to_string(moved) + " bytes later do not fit", "frame pool",
                 "reserve less, or stagger by fewer lines, a power of two"};
  }
  return Ok{};
}

std::unique_ptr<FramePool> FramePool::make(const Options& options, int memory, void* base, FramePages pages) {
  std::unique_ptr<FramePool> pool(new FramePool);
  pool->memory_ = memory;
  pool->base_ = static_cast<std::uint8_t*>(base);
  pool->bytes_ = bytes_of(options);
  pool->chunk_bytes_ = options.chunk_bytes;
  pool->reserved_ = options.reserved;
  pool->staggered_ = options.staggered;
  pool->chunks_ = options.chunks;
  pool->pages_ = pages;
  pool->free_ = std::make_unique<std::uint32_t[]>(options.chunks);
  pool->long_chunks_ = options.long_chunks;
  pool->long_free_ = std::make_unique<std::uint32_t[]>(options.long_chunks);
  return pool;
}

Result<std::unique_ptr<FramePool>> FramePool::create(const Options& options) {
  if (Status valid = check(options); !valid) {
    return valid.error();
  }
  const std::size_t bytes = bytes_of(options);
  // Always a multiple of the huge page size, so that the length is the same for every kind of page.
  const Area area = map_area(whole_huge_pages(bytes), options.pages);
  if (area.address == MAP_FAILED) {
    Error error{"cannot allocate " + std::to_string(bytes >> 20) + " MiB for frames: " + std::strerror(errno),
                "frame pool", "lower engine.frames or add memory"};
    close(area.memory);
    return error;
  }
  std::unique_ptr<FramePool> pool = make(options, area.memory, area.address, area.pages);
  for (std::uint32_t i = 0; i < options.chunks; ++i) {
    pool->release(options.chunks - 1 - i);
  }
  for (std::uint32_t i = options.long_chunks; i-- > 0;) {
    pool->release(options.chunks + i * kChunksOfLong);
  }
  return pool;
}

Result<std::unique_ptr<FramePool>> FramePool::adopt(int memory, const Options& options) {
  Status valid = check(options);
  struct stat info {};
  const std::size_t length = whole_huge_pages(bytes_of(options));
  if (valid && (fstat(memory, &info) != 0 || static_cast<std::size_t>(info.st_size) != length)) {
    valid = Error{"the memory that was handed over has another size", "frame pool", ""};
  }
  if (!valid) {
    close(memory);
    return valid.error();
  }
  const bool reserved = info.st_blksize == static_cast<blksize_t>(kHugePageBytes);
  void* area = reserved ? mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory, 0)
                        : map_memory(memory, length);
  if (area == MAP_FAILED) {
    Error error{std::string("cannot map the memory that was handed over: ") + std::strerror(errno), "frame pool", ""};
    close(memory);
    return error;
  }
  if (!reserved) {
    static_cast<void>(madvise(area, length, MADV_HUGEPAGE));
    static_cast<void>(madvise(area, length, MADV_POPULATE_WRITE));
  }
  return make(options, memory, area, reserved ? FramePages::kReserved : FramePages::kTransparent);
}

FramePool::~FramePool() {
  if (base_ != nullptr) {
    munmap(base_, whole_huge_pages(bytes_));
  }
  if (memory_ >= 0) {
    close(memory_);
  }
}

}  // namespace isthmus
