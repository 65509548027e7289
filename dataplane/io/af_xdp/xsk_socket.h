// One AF_XDP socket: one receive queue of one interface, with its four rings, over the frames of a FramePool.
//
// Chunks inside the rings belong to the socket; it tracks them all and returns them to the pool when it is closed. A
// socket and its rings can go to a successor process as they are (dataplane/api/handed_over.h).
// Threads: open, reopen and destruction on the control thread while no worker uses it; the rest is the worker's.
#pragma once

#include <linux/if_xdp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/handed_over.h"
#include "dataplane/base/defaults.h"
#include "dataplane/base/result.h"
#include "dataplane/io/af_xdp/long_frames.h"
#include "dataplane/io/af_xdp/xsk_ring.h"
#include "dataplane/io/queue_counters.h"
#include "dataplane/io/unique_fd.h"
#include "dataplane/packet/frame.h"

namespace isthmus {

struct XskSettings {
  std::string interface;
  int interface_index = 0;
  unsigned queue = 0;
  std::uint32_t ring_entries = kDefaultRingEntries;  // power of two
  bool transmits = true;                             // has a tx ring
  std::uint32_t fill_target = 1024;                  // frames kept ready for receiving
  std::uint32_t transmit_cap = 1024;                 // frames sent and not yet completed
  std::uint32_t long_cap = 0xffffffff;               // of long chunks, the same
  std::uint32_t busy_poll_us = 0;
  std::uint32_t busy_poll_budget = 64;
};

class XskSocket {
 public:
  // How a socket gets its memory area: as the first, which registers it and fixes the mode, or shared with another.
  struct Umem {
    int shared_with = -1;      // descriptor of a bound socket over the same pool; -1: the first one
    bool zero_copy = false;    // asked of the first one; the others take its mode, and name it in their errors
    bool long_frames = false;  // the same, for frames that are longer than a chunk
  };

  XskSocket(const XskSettings& settings, FramePool& pool, QueueCounterCells& counters);
  ~XskSocket();
  XskSocket(const XskSocket&) = delete;
  XskSocket& operator=(const XskSocket&) = delete;

  // Creates, maps, binds (waiting up to a second for a queue that is just being released) and fills. `error_number`
  // gets the errno of a failed bind, so that the caller can try another mode. May follow close().
  [[nodiscard]] Status open(const Umem& umem, int& error_number);
  // Goes on with the socket of another process, over the same memory, in place of open(). Changes nothing of it: that
  // process may go on with it unless this one receives or sends.
  [[nodiscard]] Status adopt(HandedSocket handed);
  // For a successor. While the worker stands.
  [[nodiscard]] HandedSocket describe() const;
  void close() noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Its interface has been removed, or moved to another network namespace, whatever has its name and number now.
  // Control thread; also while the worker runs.
  [[nodiscard]] bool lost_interface() noexcept;
  [[nodiscard]] const XskSettings& settings() const noexcept { return settings_; }

  // The worker's side.
  [[nodiscard]] unsigned receive(std::span<Frame> out) noexcept;
  [[nodiscard]] unsigned transmit(std::span<const Frame> frames) noexcept;
  // Makes the kernel send what transmit() queued, then collects completions.
  void flush() noexcept;
  [[nodiscard]] bool readable() noexcept { return rx_.available(1) > 0; }
  // Runs the driver where it waits to be polled (busy polling, zero-copy without interrupts).
  void poll_driver() noexcept;

  struct KernelCounters {
    std::uint64_t no_frame = 0, ring_full = 0, too_long = 0, refused = 0;
  };
  // Since this process has it. Any thread.
  [[nodiscard]] KernelCounters kernel_counters() const noexcept;
  [[nodiscard]] bool zero_copy() const noexcept { return zero_copy_; }
  [[nodiscard]] bool long_frames() const noexcept { return long_frames_; }

 private:
  struct Mapping {
    void* address = nullptr;
    std::size_t length = 0;
  };
  [[nodiscard]] Status setup(const Umem& umem);
  [[nodiscard]] Status set_ring(int option, std::uint32_t entries);
  [[nodiscard]] Status map_rings();
  [[nodiscard]] Result<XskRingMemory> map_ring(const xdp_ring_offset& offset, std::size_t entry_bytes,
                                               std::uint64_t page);
  [[nodiscard]] Status set_busy_poll() noexcept;
  [[nodiscard]] Status bind(const Umem& umem, int& error_number);
  void read_mode() noexcept;
  [[nodiscard]] KernelCounters all_counters() const noexcept;
  [[nodiscard]] Error failure(const char* what, int error) const;
  void drop() noexcept;
  void refill() noexcept;
  void complete() noexcept;
  // In several descriptors, where the socket has them; else it is lost and counted. False: for want of room.
  [[nodiscard]] bool push_long(const Frame& frame, std::uint32_t room, std::uint32_t& queued) noexcept;
  // To the pool; of a long one, when none of its parts is retained.
  void give_back(std::uint32_t chunk) noexcept;
  void retain(std::uint32_t chunk) noexcept { retained_[chunk] = 1; }
  // False if the socket does not own the chunk: an invalid descriptor.
  [[nodiscard]] bool release(std::uint64_t chunk) noexcept;

  XskSettings settings_;
  FramePool& pool_;
  QueueCounterCells& counters_;
  unsigned chunk_shift_;
  UniqueFd fd_;
  bool zero_copy_ = false, long_frames_ = false;
  bool lost_interface_ = false;
  KernelCounters before_;  // of the process before this one
  std::vector<Mapping> mappings_;
  XskProducer<std::uint64_t> fill_;
  XskConsumer<std::uint64_t> completion_;
  XskConsumer<xdp_desc> rx_;
  XskProducer<xdp_desc> tx_;
  std::uint32_t filled_ = 0;            // chunks in the fill ring, or taken from it and not yet received
  std::uint32_t outstanding_ = 0;       // chunks sent and not completed
  std::uint32_t long_outstanding_ = 0;  // long ones among them, whole
  std::vector<std::uint8_t> retained_;  // by chunk, or part of a long one: 1 while it is in one of the rings
  LongFrameReader reader_;
};

}  // namespace isthmus
