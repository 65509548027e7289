// Frames and the memory they lie in.
//
// Each worker owns one FramePool: a memory area divided into chunks of equal size, addressed by number, so that a frame
// can be in the ring of any of the worker's device queues (an AF_XDP UMEM is such an area) and forwarding copies
// nothing. Frames that are longer than a chunk lie in a *long chunk*: a few chunks in a row, which a pool may have
// beside the others, and which goes by the number of its first one. A frame has exactly one owner at any time: the
// pool, a device ring, a burst, a transmit batch, or the list of waiting frames. The memory is a file without a name,
// so that it can be handed to a successor process with what lies in it. Thread: the owning worker only. No allocation
// after create(). Failure: allocate() returns kNoChunk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "dataplane/base/defaults.h"
#include "dataplane/base/result.h"
#include "dataplane/base/types.h"

namespace isthmus {

inline constexpr unsigned kMaxBurst = 64;
inline constexpr std::uint32_t kNoChunk = 0xffffffff;
// Free bytes that every device leaves in front of a received frame; path.h asserts that all outer headers fit.
inline constexpr std::uint32_t kFrameHeadroom = 256;
inline constexpr std::uint32_t kChunksOfLong = 3;  // of a long chunk
inline constexpr std::uint32_t kCacheLineBytes = 64;

// A frame as devices see it. `data` points into chunk `chunk` of the pool the queue was opened with.
struct Frame {
  std::uint8_t* data = nullptr;
  std::uint32_t length = 0;
  std::uint32_t chunk = kNoChunk;
};

// The shortest Ethernet frame, without its check sequence. Drivers pad what the kernel's stack sends; what zero-copy
// AF_XDP sends, and XDP redirects, they leave as it is, and not all hardware pads.
inline constexpr std::uint32_t kShortestFrame = 60;
// The length to send the frame with; a short one is padded with zeros, in its chunk, first.
[[nodiscard]] inline std::uint32_t padded_length(const Frame& frame) noexcept {
  if (frame.length < kShortestFrame) [[unlikely]] {
    std::memset(frame.data + frame.length, 0, kShortestFrame - frame.length);
    return kShortestFrame;
  }
  return frame.length;
}

// The pages of a frame pool: reserved huge pages (MAP_HUGETLB), transparent huge pages, or ordinary pages.
enum class FramePages : std::uint8_t { kReserved, kTransparent, kOrdinary };

class FramePool {
 public:
  struct Options {
    std::uint32_t chunks = kDefaultFrames;
    std::uint32_t chunk_bytes = 4096;          // 2048 or 4096
    FramePages pages = FramePages::kReserved;  // the first kind to try; falls back to the following ones
    std::uint32_t long_chunks = 0;             // beside `chunks`; each takes kChunksOfLong times their memory
    std::uint32_t reserved = 0;                // bytes in front of each chunk that frames leave to a device
    // A power of two: chunk n begins n % staggered cache lines later, so that the headers of a burst, which all begin
    // at the same place of a chunk, do not share a set of the cache.
    std::uint32_t staggered = 1;
  };
  [[nodiscard]] static Result<std::unique_ptr<FramePool>> create(const Options& options);
  // The pool of another process, whose memory() is `memory` (taken): all chunks have an owner; those that have none are
  // the caller's to release.
  [[nodiscard]] static Result<std::unique_ptr<FramePool>> adopt(int memory, const Options& options);
  ~FramePool();
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  [[nodiscard]] std::uint32_t allocate() noexcept { return free_count_ == 0 ? kNoChunk : free_[--free_count_]; }
  [[nodiscard]] std::uint32_t allocate_long() noexcept {
    return long_free_count_ == 0 ? kNoChunk : long_free_[--long_free_count_];
  }
  // For a frame of that many bytes, at most max_frame().
  [[nodiscard]] std::uint32_t allocate_for(std::uint32_t bytes) noexcept {
    return bytes <= max_short_frame() ? allocate() : allocate_long();
  }
  // `chunk` came from one of these and has no other owner.
  void release(std::uint32_t chunk) noexcept {
    if (is_long(chunk)) [[unlikely]] {
      long_free_[long_free_count_++] = chunk;
    } else {
      free_[free_count_++] = chunk;
    }
  }
  [[nodiscard]] std::uint32_t available() const noexcept { return free_count_; }  // long ones apart
  [[nodiscard]] std::uint32_t long_available() const noexcept { return long_free_count_; }

  [[nodiscard]] std::uint8_t* base() const noexcept { return base_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint32_t chunk_bytes() const noexcept { return chunk_bytes_; }
  [[nodiscard]] std::uint32_t chunks() const noexcept { return chunks_; }  // long ones apart
  [[nodiscard]] std::uint32_t long_chunks() const noexcept { return long_chunks_; }
  // Above all numbers of chunks, those that long ones are made of included.
  [[nodiscard]] std::uint32_t numbers() const noexcept { return chunks_ + long_chunks_ * kChunksOfLong; }
  // Whether it is, or is part of, a long one; and the number of that.
  [[nodiscard]] bool is_long(std::uint32_t chunk) const noexcept { return chunk >= chunks_; }
  [[nodiscard]] std::uint32_t long_of(std::uint32_t chunk) const noexcept {
    return chunk - (chunk - chunks_) % kChunksOfLong;
  }
  [[nodiscard]] FramePages pages() const noexcept { return pages_; }
  // Descriptor of the memory, for a successor process.
  [[nodiscard]] int memory() const noexcept { return memory_; }
  // The first byte of a chunk that frames may use; before it lie the reserved ones.
  [[nodiscard]] std::uint8_t* chunk_start(std::uint32_t chunk) const noexcept {
    return base_ + static_cast<std::size_t>(chunk) * chunk_bytes_ + stagger_of(chunk) + reserved_;
  }
  [[nodiscard]] std::uint32_t reserved() const noexcept { return reserved_; }
  // By how many bytes the chunk begins later, and the most of any.
  [[nodiscard]] std::uint32_t stagger_of(std::uint32_t chunk) const noexcept {
    return (chunk & (staggered_ - 1)) * kCacheLineBytes;
  }
  [[nodiscard]] std::uint32_t most_stagger() const noexcept { return (staggered_ - 1) * kCacheLineBytes; }
  // The longest frame, in bytes, that fits behind the headroom of any chunk, and of one that is not long.
  [[nodiscard]] std::uint32_t max_frame() const noexcept {
    return max_short_frame() + (long_chunks_ == 0 ? 0 : kChunksOfLong - 1) * chunk_bytes_;
  }
  [[nodiscard]] std::uint32_t max_short_frame() const noexcept {
    return chunk_bytes_ - reserved_ - most_stagger() - kFrameHeadroom;
  }
  // The longest one in that chunk.
  [[nodiscard]] std::uint32_t max_frame(std::uint32_t chunk) const noexcept {
    return is_long(chunk) ? max_frame() : max_short_frame();
  }

 private:
  FramePool() = default;
  [[nodiscard]] static Status check(const Options& options);
  [[nodiscard]] static std::unique_ptr<FramePool> make(const Options& options, int memory, void* base,
                                                       FramePages pages);

  int memory_ = -1;
  std::uint8_t* base_ = nullptr;
  std::size_t bytes_ = 0;
  std::uint32_t chunk_bytes_ = 0, reserved_ = 0, staggered_ = 1;
  std::uint32_t chunks_ = 0;
  std::uint32_t long_chunks_ = 0;
  std::uint32_t free_count_ = 0, long_free_count_ = 0;
  FramePages pages_ = FramePages::kOrdinary;
  std::unique_ptr<std::uint32_t[]> free_, long_free_;
};

}  // namespace isthmus
