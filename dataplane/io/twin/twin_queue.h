// One worker's end of a twin: bounded rings of frame copies, to the thread that writes them to the TAP and, for one
// worker, from it.
//
// What is for the host has two lanes: the urgent one is for what keeps the host reachable and its sessions alive (ARP,
// neighbour discovery, what has the precedence of network control, as BGP and BFD have it), so that a flood of anything
// else is not what these are lost in. A full lane loses packets, counted; nothing waits for it. No allocation after
// construction, no lock; one system call per call at most, if the other end sleeps. Threads: that worker, except where
// it says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/api/counters.h"
#include "dataplane/io/memory/frame_ring.h"
#include "dataplane/io/queue_counters.h"
#include "dataplane/io/unique_fd.h"
#include "dataplane/packet/frame.h"

namespace isthmus {

// The sleep of one end of rings, and how the others wake it. Whoever puts something into a ring calls wake() after it;
// who is about to sleep calls lie_down(), looks at the rings once more, and waits for fd() only if they are empty.
class Sleeper {
 public:
  [[nodiscard]] bool open() noexcept;  // false: errno
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  // Exchanges on both sides: whichever comes second sees what the first one did before.
  void lie_down() noexcept { sleeps_.exchange(true, std::memory_order_acq_rel); }
  void wake() noexcept {
    if (sleeps_.exchange(false, std::memory_order_acq_rel)) {
      ring_bell();
    }
  }
  void ring_bell() noexcept;        // whether it sleeps or not
  void get_up() noexcept;           // takes back what woke it
  void take_back_bells() noexcept;  // the same, and it goes on sleeping

 private:
  UniqueFd event_;
  alignas(64) std::atomic<bool> sleeps_{false};
};

// What the queues of a twin and its thread share.
struct TwinShared {
  Sleeper thread, worker;                 // the thread; the worker that takes from the host
  std::atomic<bool> open{false};          // the TAP is there, and the thread runs
  std::atomic<std::uint32_t> longest{0};  // bytes of a frame without a VLAN tag
};

class TwinQueue {
 public:
  struct Sizes {
    std::uint32_t frames = 512;  // of a ring; powers of two
    std::uint32_t urgent_frames = 128;
    std::uint32_t frame_bytes = FrameRing::kSlotBytes;
  };
  // `takes`: it is the one that gets what the host sends.
  TwinQueue(std::shared_ptr<TwinShared> shared, const Sizes& sizes, bool takes);

  // Frames for the kernel, of chunks of `pool`: all are taken and their chunks released.
  void give(std::span<const Frame> frames, FramePool& pool) noexcept;
  // Frames that the kernel sends, in chunks of `pool`; returns how many. Where the pool has none left, they wait.
  unsigned take(std::span<Frame> out, FramePool& pool) noexcept;
  // Of what take() gave, so many found no room in the device, and are lost.
  void not_sent(unsigned frames) noexcept { counters_.from_host_full.add(frames); }
  // Whether take() gives anything, ever.
  [[nodiscard]] bool takes() const noexcept { return from_host_ != nullptr; }
  // Readable when frames of the kernel arrive after arm(). Precondition: takes().
  [[nodiscard]] int wait_fd() const noexcept { return shared_->worker.fd(); }
  // Before the worker sleeps: false, if frames are already waiting.
  bool arm() noexcept;
  // Adds the counters of the host's packets. Any thread.
  void add_to(QueueCounters& counters) const noexcept {
    add_counts(counters, counters_.read());
    add_counts(counters, by_thread_.read());
  }

  // The thread's end. The oldest frame of a lane stays valid until it is popped.
  [[nodiscard]] FrameRing& urgent() noexcept { return urgent_; }
  [[nodiscard]] FrameRing& ordinary() noexcept { return ordinary_; }
  [[nodiscard]] bool holds_any() const noexcept { return !urgent_.empty() || !ordinary_.empty(); }
  void refused_by_kernel() noexcept { by_thread_.host_refused.add(1); }
  // A frame that the kernel sends. The caller wakes the worker after the last one. Precondition: takes().
  void put(std::span<const std::uint8_t> frame) noexcept;

 private:
  std::shared_ptr<TwinShared> shared_;
  FrameRing urgent_, ordinary_;
  std::unique_ptr<FrameRing> from_host_;
  QueueCounterCells counters_;               // the worker's
  alignas(64) QueueCounterCells by_thread_;  // the thread's
};

}  // namespace isthmus
