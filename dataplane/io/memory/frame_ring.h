// A bounded queue of frame copies between two threads: one pushes, one pops. No allocation after construction, no lock.
// Failure: push() returns false when the ring is full or the frame is longer than a slot.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace isthmus {

class FrameRing {
 public:
  static constexpr std::uint32_t kSlotBytes = 4096 - 256;  // what a chunk holds behind its headroom

  // `slots` is a power of two. Memory is touched only as slots are used.
  explicit FrameRing(std::uint32_t slots, std::uint32_t slot_bytes = kSlotBytes)
      : mask_(slots - 1),
        slot_bytes_(slot_bytes),
        bytes_(std::make_unique_for_overwrite<std::uint8_t[]>(std::size_t{slots} * slot_bytes)),
        lengths_(std::make_unique<std::uint32_t[]>(slots)) {}

  [[nodiscard]] bool push(std::span<const std::uint8_t> frame) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (frame.size() > slot_bytes_ || head - tail_.load(std::memory_order_acquire) > mask_) {
      return false;
    }
    std::copy(frame.begin(), frame.end(), slot(head));  // not memcpy: the frame may be empty
    lengths_[head & mask_] = static_cast<std::uint32_t>(frame.size());
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  [[nodiscard]] bool empty() const noexcept {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
  }
  // The oldest frame; valid until pop(). Precondition: the popping thread has seen !empty().
  [[nodiscard]] std::span<const std::uint8_t> front() const noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    return {slot(tail), lengths_[tail & mask_]};
  }
  void pop() noexcept { tail_.store(tail_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

 private:
  [[nodiscard]] std::uint8_t* slot(std::uint32_t i) const noexcept {
    return bytes_.get() + std::size_t{i & mask_} * slot_bytes_;
  }
  std::uint32_t mask_, slot_bytes_;
  std::unique_ptr<std::uint8_t[]> bytes_;
  std::unique_ptr<std::uint32_t[]> lengths_;
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
};

}  // namespace isthmus
