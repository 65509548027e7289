// A worker's FramePool as DPDK's mempool, so that frames of the path and message buffers are the same memory.
//
// Each chunk is an object of the mempool: DPDK's header of the object and the message buffer lie in the bytes that the
// pool's frames leave to devices (FramePool::Options::reserved), and the buffer behind them is where frames lie. So a
// received buffer is a frame, any chunk of the pool can be sent, and what a driver frees is free for all devices.
//
//     0        64        192          320          448
//     | object | rte_mbuf | private    | RTE_PKTMBUF | received frame ...
//     | header |          | area       | _HEADROOM   |
//                         `- FramePool::chunk_start()
//
// (of a chunk that begins n cache lines later, all of it lies n lines further). The private area is where rare long
// headers go, which DPDK's own headroom is too short for. The mempool keeps nothing itself: its operations are the
// FramePool's. Threads: the worker, or the control thread while no worker runs. Drivers whose NIC comes and goes while
// they run (failsafe, netvsc) start and stop its queues on a thread of DPDK's: what others than the worker take comes
// from a *reserve* beside the pool, and what they give back goes there, until the worker sees to it.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/base/result.h"
#include "dataplane/packet/frame.h"

namespace isthmus {

class FrameMempool {
 public:
  static constexpr std::uint32_t kObjectHeader = 64;
  static constexpr std::uint32_t kReserved =
      kObjectHeader + sizeof(rte_mbuf);  // FramePool::Options::reserved, at least
  static constexpr std::uint32_t kPrivate = kFrameHeadroom - RTE_PKTMBUF_HEADROOM;
  static constexpr std::uint32_t kBuffer = kReserved + kPrivate;  // from the chunk to the buffer

  // Error: no memory of DPDK's is left, or the pool reserves too little. The pool outlives the mempool.
  [[nodiscard]] static Result<std::unique_ptr<FrameMempool>> create(FramePool& pool, int socket);
  // Control thread, before the worker runs: so many chunks are for other threads, as long as the pool has them.
  [[nodiscard]] Status keep_reserve(std::uint32_t chunks);
  // Worker: it is this thread that the pool is of.
  void claim() noexcept { owner_.store(&this_thread_, std::memory_order_relaxed); }
  // Worker: moves chunks between the reserve and the pool, a burst of them at most.
  void tend_reserve() noexcept;
  ~FrameMempool();
  FrameMempool(const FrameMempool&) = delete;
  FrameMempool& operator=(const FrameMempool&) = delete;

  [[nodiscard]] rte_mempool* get() const noexcept { return mempool_; }
  [[nodiscard]] FramePool& frames() const noexcept { return pool_; }

  // Whether it is one of this pool's, by its address: the pointer to its pool is in a line that nobody else reads.
  [[nodiscard]] bool owns(const rte_mbuf* mbuf) const noexcept {
    return static_cast<std::size_t>(reinterpret_cast<const std::uint8_t*>(mbuf) - pool_.base()) < pool_.bytes();
  }
  // Precondition: owns().
  [[nodiscard]] std::uint32_t chunk_of(const void* mbuf) const noexcept {
    return static_cast<std::uint32_t>((static_cast<const std::uint8_t*>(mbuf) - pool_.base()) >> shift_);
  }
  // Precondition: the chunk is not long.
  [[nodiscard]] rte_mbuf* mbuf_of(std::uint32_t chunk) const noexcept {
    return reinterpret_cast<rte_mbuf*>(pool_.base() + (std::size_t{chunk} << shift_) + pool_.stagger_of(chunk) +
                                       kObjectHeader);
  }

  // The message buffer of a frame, to be sent with that length. Preconditions: the chunk is this pool's and not long.
  [[nodiscard]] rte_mbuf* begin_send(const Frame& frame, std::uint32_t length) const noexcept {
    rte_mbuf* mbuf = mbuf_of(frame.chunk);
    if (frame.data < buffer_of(mbuf)) [[unlikely]] {
      mbuf->buf_addr = buffer_of(mbuf) - kPrivate;
      mbuf->buf_iova -= kPrivate;
    }
    mbuf->data_off = static_cast<std::uint16_t>(frame.data - static_cast<std::uint8_t*>(mbuf->buf_addr));
    mbuf->data_len = static_cast<std::uint16_t>(length);
    mbuf->pkt_len = length;
    mbuf->ol_flags = 0;
    return mbuf;
  }
  // It is sent, or was not.
  void end_send(rte_mbuf& mbuf) const noexcept {
    if (mbuf.buf_addr != buffer_of(&mbuf)) [[unlikely]] {
      mbuf.buf_addr = buffer_of(&mbuf);
      mbuf.buf_iova += kPrivate;
    }
  }

  // The operations of rte_mempool_ops. populate(): the objects that lie in that memory, a part of the pool's.
  unsigned populate(void* memory, std::size_t bytes, rte_iova_t iova, rte_mempool_populate_obj_cb_t* take,
                    void* argument) noexcept;
  int enqueue(void* const* objects, unsigned count) noexcept;
  int dequeue(void** objects, unsigned count) noexcept;

 private:
  explicit FrameMempool(FramePool& pool);
  [[nodiscard]] static std::uint8_t* buffer_of(rte_mbuf* mbuf) noexcept {
    return reinterpret_cast<std::uint8_t*>(mbuf) + (kBuffer - kObjectHeader);
  }
  [[nodiscard]] Status make(int socket);
  [[nodiscard]] bool is_foreign() const noexcept {
    const void* const owner = owner_.load(std::memory_order_relaxed);
    return owner != nullptr && owner != &this_thread_;
  }

  static thread_local const char this_thread_;  // its address is the thread's

  std::atomic<const void*> owner_{nullptr};  // nullptr: no worker has run
  rte_ring* reserve_ = nullptr;              // of message buffers; holds all that there are
  std::uint32_t reserved_chunks_ = 0;
  FramePool& pool_;
  unsigned shift_;
  bool populated_ = false;
  rte_mempool* mempool_ = nullptr;
};

}  // namespace isthmus
