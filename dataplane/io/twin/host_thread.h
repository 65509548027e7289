// The thread between a twin's TAP and the rings of the workers (named isthmus-host).
//
// Rounds: a share of each worker's frames to the kernel, urgent ones first, then a share of what the kernel sends; a
// flood in one direction, or of one worker, so takes no more than its share of a round from the others. It sleeps when
// a round found nothing. When the TAP is gone, it says so (TwinShared::open) and ends: nothing spins, and start()
// begins anew. Threads: start() and stop() control's.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "dataplane/io/twin/twin_queue.h"

namespace isthmus {

class HostThread {
 public:
  // The first one of `queues` takes what the host sends. The thread stays off others' CPUs, where there are more.
  HostThread(std::shared_ptr<TwinShared> shared, std::vector<std::unique_ptr<TwinQueue>>& queues,
             std::uint32_t frame_bytes, std::vector<int> others_cores = {});
  ~HostThread() { stop(); }
  HostThread(const HostThread&) = delete;
  HostThread& operator=(const HostThread&) = delete;

  // `tap` stays open until stop(). Precondition: it is stopped.
  void start(int tap);
  // Also of one that has ended, or was never started.
  void stop();

 private:
  void leave_cores() noexcept;
  void run() noexcept;
  [[nodiscard]] unsigned to_host() noexcept;
  [[nodiscard]] unsigned drain(TwinQueue& queue, FrameRing& lane, unsigned budget) noexcept;
  [[nodiscard]] unsigned from_host() noexcept;
  void sleep() noexcept;

  std::shared_ptr<TwinShared> shared_;
  std::vector<std::unique_ptr<TwinQueue>>& queues_;
  std::vector<int> others_cores_;
  std::vector<std::uint8_t> buffer_;  // one byte longer than a frame can be, by which a longer one shows
  int tap_ = -1;
  bool gone_ = false;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace isthmus
