#include "dataplane/packet/frame.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace isthmus {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// The mapping is always whole huge pages, so that one length serves both kinds.
constexpr std::size_t mapped_length(std::size_t bytes) { return (bytes + kHugePage - 1) & ~(kHugePage - 1); }

constexpr int kProtection = PROT_READ | PROT_WRITE;
constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;

struct Area {
  void* address = MAP_FAILED;
  FramePages pages = FramePages::kOrdinary;
};

// Ordinary pages, at an address where huge ones can take their place.
void* map_aligned(std::size_t length) {
  void* wider = mmap(nullptr, length + kHugePage, kProtection, kFlags, -1, 0);
  if (wider == MAP_FAILED) {
    return wider;
  }
  auto* const first = static_cast<std::byte*>(wider);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(first) & (kHugePage - 1);
  if (before != 0) {
    munmap(first, before);
  }
  munmap(first + before + length, kHugePage - before);
  return first + before;
}

Area map_area(std::size_t length, FramePages wish) {
  if (wish == FramePages::kReserved) {
    void* area = mmap(nullptr, length, kProtection, kFlags | MAP_HUGETLB | MAP_POPULATE, -1, 0);
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
  // A hint: the workers would otherwise meet the page faults.
  static_cast<void>(madvise(area.address, length, MADV_POPULATE_WRITE));
  return area;
}

}  // namespace

Result<std::unique_ptr<FramePool>> FramePool::create(const Options& options) {
  if (options.chunk_bytes != 2048 && options.chunk_bytes != 4096) {
    return Error{"frame chunks of " + std::to_string(options.chunk_bytes) + " bytes", "frame pool",
                 "use 2048 or 4096, the sizes an AF_XDP area can have"};
  }
  if (options.chunks == 0 || options.chunks >= kNoChunk / 2) {
    return Error{std::to_string(options.chunks) + " frames", "frame pool", "use between 1 and 2 thousand million"};
  }
  const std::size_t bytes = std::size_t{options.chunks} * options.chunk_bytes;
  const Area area = map_area(mapped_length(bytes), options.pages);
  if (area.address == MAP_FAILED) {
    return Error{"cannot map " + std::to_string(bytes >> 20) + " MiB of frames: " + std::strerror(errno), "frame pool",
                 "lower the number of frames or give the machine more memory"};
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
    munmap(base_, mapped_length(bytes_));
  }
}

}  // namespace isthmus
