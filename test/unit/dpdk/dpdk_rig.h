// Devices of DPDK's software drivers with one worker's queue each, and the frames of that worker.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/devices.h"

namespace isthmus {

using FrameBytes = std::vector<std::uint8_t>;

// A device, its queue, and the pool of its frames, which ends last.
struct DpdkEnd {
  explicit DpdkEnd(const std::string& devargs, std::uint32_t frames = 1024, std::uint32_t ring_entries = 128,
                   std::uint32_t staggered = 1) {
    FramePool::Options memory;
    memory.chunks = frames;
    memory.reserved = kDpdkReserved;
    memory.staggered = staggered;
    pool = std::move(*FramePool::create(memory));
    auto opened = open_dpdk(options(devargs, ring_entries));
    EXPECT_TRUE(opened.ok()) << opened.error().text();
    if (opened.ok()) {
      device = std::move(*opened);
      auto made = device->open_queue(WorkerId{0}, 1, *pool);
      EXPECT_TRUE(made.ok()) << made.error().text();
      queue = made.ok() ? std::move(*made) : nullptr;
    }
  }
  static DpdkOptions options(const std::string& devargs, std::uint32_t ring_entries = 128) {
    DpdkOptions options;
    options.device = devargs;
    options.ring_entries = ring_entries;
    options.memory = {DpdkPages::kOrdinary, 64};
    return options;
  }

  [[nodiscard]] Frame make(const FrameBytes& bytes, std::uint32_t headroom = kFrameHeadroom) const {
    const std::uint32_t chunk = pool->allocate();
    EXPECT_NE(chunk, kNoChunk);
    Frame frame{pool->chunk_start(chunk) + headroom, static_cast<std::uint32_t>(bytes.size()), chunk};
    std::memcpy(frame.data, bytes.data(), bytes.size());
    return frame;
  }
  void send(std::initializer_list<Frame> frames) const {
    ASSERT_EQ(queue->transmit({frames.begin(), frames.size()}), frames.size());
    queue->flush();
  }
  [[nodiscard]] std::vector<Frame> receive(unsigned most = kMaxBurst) const {
    std::vector<Frame> frames(most);
    frames.resize(queue->receive(frames));
    return frames;
  }

  std::unique_ptr<FramePool> pool;
  std::unique_ptr<Device> device;
  std::unique_ptr<DeviceQueue> queue;  // ends first
};

inline FrameBytes bytes_of(const Frame& frame) { return {frame.data, frame.data + frame.length}; }

// Bytes that differ in each place and by `seed`.
inline FrameBytes pattern(std::size_t length, unsigned seed = 0) {
  FrameBytes bytes(length);
  for (std::size_t i = 0; i < length; ++i) {
    bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 256 + seed * 31);
  }
  return bytes;
}

}  // namespace isthmus
