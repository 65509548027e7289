#include "dataplane/io/twin/host_thread.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace isthmus {
namespace {

// Frames per round: of the host's, and of all workers' lanes together; a queue has at least a few of each lane.
constexpr unsigned kFromHostBudget = 64;
constexpr unsigned kToHostBudget = 64;
constexpr unsigned kLeastPerQueue = 4;

}  // namespace

HostThread::HostThread(std::shared_ptr<TwinShared> shared, std::vector<std::unique_ptr<TwinQueue>>& queues,
                       std::uint32_t frame_bytes, std::vector<int> others_cores)
    : shared_(std::move(shared)), queues_(queues), others_cores_(std::move(others_cores)), buffer_(frame_bytes + 1) {}

void HostThread::leave_cores() noexcept {
  cpu_set_t cpus;
  if (pthread_getaffinity_np(thread_.native_handle(), sizeof cpus, &cpus) != 0) {
    return;
  }
  for (const int core : others_cores_) {
    CPU_CLR(static_cast<std::size_t>(core), &cpus);
  }
  if (CPU_COUNT(&cpus) != 0) {
    static_cast<void>(pthread_setaffinity_np(thread_.native_handle(), sizeof cpus, &cpus));
  }
}

void HostThread::start(int tap) {
  tap_ = tap;
  gone_ = false;
  stopping_.store(false, std::memory_order_relaxed);
  shared_->open.store(true, std::memory_order_release);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the others
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), "isthmus-host");
  leave_cores();
}

void HostThread::stop() {
  if (thread_.joinable()) {
    stopping_.store(true, std::memory_order_release);
    shared_->thread.ring_bell();
    thread_.join();
  }
  shared_->open.store(false, std::memory_order_release);
}

void HostThread::run() noexcept {
  while (!stopping_.load(std::memory_order_acquire)) {
    const unsigned moved = to_host() + from_host();
    if (gone_) {
      shared_->open.store(false, std::memory_order_release);
      return;
    }
    if (moved == 0) {
      sleep();
    }
  }
}

unsigned HostThread::to_host() noexcept {
  const unsigned share = std::max(kLeastPerQueue, kToHostBudget / static_cast<unsigned>(2 * queues_.size()));
  unsigned moved = 0;
  for (const auto& queue : queues_) {
    moved += drain(*queue, queue->urgent(), share);
    moved += drain(*queue, queue->ordinary(), share);
  }
  return moved;
}

unsigned HostThread::drain(TwinQueue& queue, FrameRing& lane, unsigned budget) noexcept {
  unsigned moved = 0;
  for (; moved < budget && !gone_ && !lane.empty(); ++moved) {
    const std::span<const std::uint8_t> frame = lane.front();
    if (write(tap_, frame.data(), frame.size()) < 0) {
      gone_ = errno == EBADFD;  // EIO: it is down; others: the kernel has no memory, or does not take this one
      queue.refused_by_kernel();
    }
    lane.pop();
  }
  return moved;
}

unsigned HostThread::from_host() noexcept {
  TwinQueue& queue = *queues_.front();
  unsigned moved = 0;
  while (moved < kFromHostBudget && !gone_) {
    const ssize_t length = read(tap_, buffer_.data(), buffer_.size());
    if (length < 0) {
      gone_ = errno == EBADFD;
      break;
    }
    queue.put({buffer_.data(), static_cast<std::size_t>(length)});
    ++moved;
  }
  if (moved != 0) {
    shared_->worker.wake();
  }
  return moved;
}

void HostThread::sleep() noexcept {
  shared_->thread.lie_down();
  const bool waiting =
      std::any_of(queues_.begin(), queues_.end(), [](const auto& queue) { return queue->holds_any(); });
  if (!waiting && !stopping_.load(std::memory_order_acquire)) {
    std::array<pollfd, 2> wait = {pollfd{tap_, POLLIN, 0}, pollfd{shared_->thread.fd(), POLLIN, 0}};
    static_cast<void>(poll(wait.data(), wait.size(), -1));
    // An interface that is being removed shows nothing else.
    gone_ = (wait[0].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  }
  shared_->thread.get_up();
}

}  // namespace isthmus
