// The rings that an AF_XDP socket shares with the kernel (Documentation/networking/af_xdp.rst): one side writes entries
// and moves the producer index, the other reads and moves the consumer index; indexes run freely and wrap at 2^32.
// Of a socket that another process has used, both go on where its published indexes are. Thread: one at a time on our
// side. Memory belongs to the kernel's mapping, which XskSocket owns.
#pragma once

#include <linux/if_xdp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace isthmus {

// Location of a mapped ring's parts.
struct XskRingMemory {
  std::byte* base = nullptr;
  xdp_ring_offset offset{};
  std::uint32_t entries = 0;  // power of two

  [[nodiscard]] std::uint32_t* word(std::uint64_t at) const noexcept {
    return reinterpret_cast<std::uint32_t*>(base + at);
  }
};

// We produce, the kernel consumes: fill and tx.
template <typename Entry>
class XskProducer {
 public:
  XskProducer() noexcept = default;
  explicit XskProducer(const XskRingMemory& memory) noexcept
      : producer_(memory.word(memory.offset.producer)),
        consumer_(memory.word(memory.offset.consumer)),
        flags_(memory.word(memory.offset.flags)),
        entries_(reinterpret_cast<Entry*>(memory.base + memory.offset.desc)),
        size_(memory.entries),
        next_(std::atomic_ref(*producer_).load(std::memory_order_relaxed)),
        cached_(std::atomic_ref(*consumer_).load(std::memory_order_acquire)) {}

  [[nodiscard]] bool mapped() const noexcept { return entries_ != nullptr; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  // Free entries; reads the kernel's index only when fewer than `needed` are known to be free.
  [[nodiscard]] std::uint32_t free(std::uint32_t needed) noexcept {
    if (size_ - (next_ - cached_) < needed) {
      cached_ = std::atomic_ref(*consumer_).load(std::memory_order_acquire);
    }
    return size_ - (next_ - cached_);
  }
  // Precondition: free(1) > 0. Visible to the kernel after publish().
  void push(const Entry& entry) noexcept { entries_[next_++ & (size_ - 1)] = entry; }
  void publish() noexcept { std::atomic_ref(*producer_).store(next_, std::memory_order_release); }
  // Entries the kernel has not consumed yet.
  [[nodiscard]] std::uint32_t pending() const noexcept {
    return next_ - std::atomic_ref(*consumer_).load(std::memory_order_acquire);
  }
  [[nodiscard]] bool needs_wakeup() const noexcept {
    return (std::atomic_ref(*flags_).load(std::memory_order_relaxed) & XDP_RING_NEED_WAKEUP) != 0;
  }

 private:
  std::uint32_t* producer_ = nullptr;
  std::uint32_t* consumer_ = nullptr;
  std::uint32_t* flags_ = nullptr;
  Entry* entries_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t next_ = 0;    // our producer index, ahead of the published one
  std::uint32_t cached_ = 0;  // the kernel's consumer index as last read
};

// The kernel produces, we consume: rx and completion.
template <typename Entry>
class XskConsumer {
 public:
  XskConsumer() noexcept = default;
  explicit XskConsumer(const XskRingMemory& memory) noexcept
      : producer_(memory.word(memory.offset.producer)),
        consumer_(memory.word(memory.offset.consumer)),
        entries_(reinterpret_cast<const Entry*>(memory.base + memory.offset.desc)),
        size_(memory.entries),
        next_(std::atomic_ref(*consumer_).load(std::memory_order_relaxed)),
        cached_(std::atomic_ref(*producer_).load(std::memory_order_acquire)) {}

  [[nodiscard]] bool mapped() const noexcept { return entries_ != nullptr; }
  // Entries waiting; reads the kernel's index only when fewer than `needed` are known to wait.
  [[nodiscard]] std::uint32_t available(std::uint32_t needed) noexcept {
    if (cached_ - next_ < needed) {
      cached_ = std::atomic_ref(*producer_).load(std::memory_order_acquire);
    }
    return cached_ - next_;
  }
  // Precondition: available(1) > 0. The entry may be overwritten after release().
  [[nodiscard]] Entry pop() noexcept { return entries_[next_++ & (size_ - 1)]; }
  void release() noexcept { std::atomic_ref(*consumer_).store(next_, std::memory_order_release); }

 private:
  std::uint32_t* producer_ = nullptr;
  std::uint32_t* consumer_ = nullptr;
  const Entry* entries_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t next_ = 0;
  std::uint32_t cached_ = 0;
};

}  // namespace isthmus
