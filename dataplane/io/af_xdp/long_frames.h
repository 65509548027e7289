// Frames that are longer than a chunk, as AF_XDP has them since Linux 6.6 (Documentation/networking/af_xdp.rst,
// "Multi-Buffer Support"): in several descriptors, each for bytes of one chunk, all but the last one marked. A received
// one is copied into a long chunk of the pool, so that the path finds it in one piece; one that is sent needs no copy.
// Thread: the worker.
#pragma once

#include <linux/if_xdp.h>

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/io/queue_counters.h"
#include "dataplane/packet/frame.h"

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#define XDP_PKT_CONTD (1 << 0)
#endif

namespace isthmus {

class LongFrameReader {
 public:
  LongFrameReader(FramePool& pool, QueueCounterCells& counters) noexcept : pool_(pool), counters_(counters) {}

  // Whether a frame has begun whose last part has not come.
  [[nodiscard]] bool unfinished() const noexcept { return unfinished_; }
  // Whether the next descriptor is a part of a frame.
  [[nodiscard]] bool is_part(const xdp_desc& descriptor) const noexcept {
    return unfinished_ || (descriptor.options & XDP_PKT_CONTD) != 0;
  }
  // For a part, in chunk `chunk`, which goes back to the pool. True: it was the last one, and `frame` is the frame.
  // What does not fit is counted and lost.
  [[nodiscard]] bool take(const xdp_desc& descriptor, std::uint32_t chunk, Frame& frame) noexcept;
  // Gives up what is unfinished.
  void reset() noexcept;

 private:
  FramePool& pool_;
  QueueCounterCells& counters_;
  bool unfinished_ = false, too_long_ = false;
  std::uint32_t chunk_ = kNoChunk;  // the long one that parts go to
  std::uint32_t length_ = 0;
};

// The descriptors of a frame in a long chunk.
class LongFrameParts {
 public:
  LongFrameParts(const Frame& frame, const FramePool& pool) noexcept;
  [[nodiscard]] std::span<const xdp_desc> parts() const noexcept { return {parts_.data(), count_}; }

 private:
  std::array<xdp_desc, kChunksOfLong> parts_{};
  std::uint32_t count_ = 0;
};

}  // namespace isthmus
