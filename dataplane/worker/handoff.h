// Workers hand packets to each other: where a device does not divide what arrives by flows, the worker that has
// received it does (flow_number.h), so that the flows of one pair of gateways are not one core's.
//
// From each worker to each other one leads a *lane*: a bounded ring of frames, and one by which their chunks come back.
// The other worker copies them into frames of its own pool. Nothing is lost: what finds no room in a lane stays with
// the worker that has received it, and what finds no chunk waits in the lane. Threads: of a lane, the worker that it
// leads from and the one that it leads to. No allocation after construction; a system call only to wake a worker that
// sleeps.
#pragma once

#include <array>
#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/api/engine.h"
#include "dataplane/io/device.h"
#include "dataplane/packet/flow_number.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

struct HandedOut {
  unsigned stays = 0;    // frames at the front that are the caller's
  unsigned handed = 0;   // to other workers
  unsigned no_room = 0;  // of those that stay, another worker's by their number
};

class Handoff {
 public:
  static constexpr unsigned kLane = 256;  // frames

  Handoff(unsigned workers, const TunnelEnds& tunnel, std::uint64_t secret);

  // What the worker has received from a device: hands out what is others', and moves the rest to the front.
  HandedOut hand_out(unsigned worker, DeviceId device, std::span<Frame> frames) noexcept;
  // Chunks that others have done with go back to the pool they are of.
  void take_back(unsigned worker, FramePool& pool) noexcept;
  // What others have handed to the worker, of one device: fills frames of its pool. Returns how many; 0: there is
  // nothing, or no chunk.
  unsigned receive(unsigned worker, FramePool& pool, std::span<Frame> out, DeviceId& device) noexcept;

  // The worker is about to sleep, and is woken by a write to that descriptor; false: there is something for it.
  [[nodiscard]] bool sleep(unsigned worker, int wake_fd) noexcept;
  void awake(unsigned worker) noexcept { places_[worker].wake_fd.store(-1, std::memory_order_relaxed); }
  // Whether anything that a worker has received is still in a lane. While all workers stand.
  [[nodiscard]] bool empty() const noexcept;

 private:
  struct Parcel {
    Frame frame;
    DeviceId device;
  };
  struct Lane {
    boost::lockfree::spsc_queue<Parcel, boost::lockfree::capacity<kLane>> there;
    // As many as are on their way at most.
    boost::lockfree::spsc_queue<std::uint32_t, boost::lockfree::capacity<kLane>> back;
    alignas(kCacheLineBytes) unsigned away = 0;  // chunks in either; of the worker that it leads from
  };
  struct alignas(kCacheLineBytes) Place {
    std::atomic<int> wake_fd{-1};  // of a worker that sleeps
  };
  [[nodiscard]] Lane& lane(unsigned from, unsigned to) noexcept { return *lanes_[from * workers_ + to]; }
  // After a push: of this and the exchange of sleep(), which are one after the other, the later one sees what the other
  // one's thread has done before.
  [[nodiscard]] bool is_asleep(unsigned worker) noexcept {
    return places_[worker].wake_fd.fetch_add(0, std::memory_order_acq_rel) >= 0;
  }
  void wake(unsigned worker) noexcept;

  unsigned workers_;
  FlowNumbers numbers_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // from a worker to another one; none to itself
  std::vector<Place> places_;
};

// Devices, a bit for each, whose packets workers hand to each other: those that do not divide what arrives, or all.
[[nodiscard]] std::uint64_t handed_out(WorkerHandoff mode, std::span<const std::unique_ptr<Device>> devices);

}  // namespace isthmus
