#include "dataplane/io/af_xdp/long_frames.h"

#include <algorithm>
#include <cstring>

namespace isthmus {

bool LongFrameReader::take(const xdp_desc& descriptor, std::uint32_t chunk, Frame& frame) noexcept {
  if (!unfinished_) {
    chunk_ = pool_.allocate_long();
    length_ = 0;
    too_long_ = false;
  }
  unfinished_ = (descriptor.options & XDP_PKT_CONTD) != 0;
  too_long_ |= length_ + descriptor.len > pool_.max_frame();
  if (chunk_ != kNoChunk && !too_long_) {
    std::memcpy(pool_.chunk_start(chunk_) + kFrameHeadroom + length_, pool_.base() + descriptor.addr, descriptor.len);
    length_ += descriptor.len;
  }
  pool_.release(chunk);
  if (unfinished_) {
    return false;
  }
  const bool whole = chunk_ != kNoChunk && !too_long_;
  if (whole) {
    frame = Frame{pool_.chunk_start(chunk_) + kFrameHeadroom, length_, chunk_};
    chunk_ = kNoChunk;
  } else {
    (too_long_ ? counters_.oversize : counters_.rx_no_frame).add(1);
    reset();
  }
  return whole;
}

void LongFrameReader::reset() noexcept {
  if (chunk_ != kNoChunk) {
    pool_.release(chunk_);
    chunk_ = kNoChunk;
  }
  unfinished_ = false;
}

LongFrameParts::LongFrameParts(const Frame& frame, const FramePool& pool) noexcept {
  auto at = static_cast<std::uint64_t>(frame.data - pool.base());
  std::uint32_t left = frame.length;
  while (left > 0 && count_ < parts_.size()) {
    const auto room = static_cast<std::uint32_t>(pool.chunk_bytes() - (at & (pool.chunk_bytes() - 1)));
    const std::uint32_t bytes = std::min(left, room);
    left -= bytes;
    parts_[count_++] = xdp_desc{at, bytes, left > 0 ? std::uint32_t{XDP_PKT_CONTD} : 0};
    at += bytes;
  }
}

}  // namespace isthmus
