#include "dataplane/io/af_xdp/af_xdp_queue.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace isthmus {

AfXdpQueue::AfXdpQueue(std::shared_ptr<SteerProgram> steer, std::shared_ptr<SharedUmem> umem, FramePool& pool,
                       const Share& share)
    : steer_(std::move(steer)), umem_(std::move(umem)), pool_(pool), share_(share) {
  share_.open->insert(this);
}

AfXdpQueue::~AfXdpQueue() {
  share_.open->erase(this);
  close_sockets();
}

void AfXdpQueue::close_sockets() {
  for (isthmus_heartbeat* heartbeat : heartbeats_) {
    std::atomic_ref(heartbeat->nanoseconds).fetch_or(ISTHMUS_NOT_POLLED, std::memory_order_relaxed);
  }
  for (const auto& socket : sockets_) {
    umem_->remove(*socket);
  }
  heartbeats_.clear();
  sockets_.clear();
  wait_fds_.clear();
  first_ = 0;
}

void AfXdpQueue::use(std::shared_ptr<SteerProgram> steer) {
  close_sockets();
  steer_ = std::move(steer);
}

bool AfXdpQueue::lost_interface() const noexcept {
  return std::any_of(sockets_.begin(), sockets_.end(), [](const auto& socket) { return socket->lost_interface(); });
}

Status AfXdpQueue::add_socket(const XskSettings& settings, ZeroCopy zero_copy) {
  auto socket = std::make_unique<XskSocket>(settings, pool_, counters_);
  Status added = umem_->add(*socket, zero_copy, on_bound());
  if (added) {
    keep(std::move(socket));
  }
  return added;
}

Status AfXdpQueue::adopt_socket(const XskSettings& settings, ZeroCopy zero_copy, HandedSocket handed) {
  auto socket = std::make_unique<XskSocket>(settings, pool_, counters_);
  Status adopted = umem_->adopt(*socket, std::move(handed), zero_copy, on_bound());
  if (adopted) {
    keep(std::move(socket));
    write_heartbeats();
  }
  return adopted;
}

SharedUmem::OnBound AfXdpQueue::on_bound() {
  return [this, index = sockets_.size()](XskSocket& bound) {
    wait_fds_.resize(std::max(wait_fds_.size(), index + 1));
    wait_fds_[index] = bound.fd();
    return steer_->set_socket(bound.settings().queue, bound.fd());
  };
}

void AfXdpQueue::keep(std::unique_ptr<XskSocket> socket) {
  heartbeats_.push_back(&steer_->heartbeats()[socket->settings().queue]);
  sockets_.push_back(std::move(socket));
}

HandedQueue AfXdpQueue::describe() const {
  HandedQueue queue;
  for (const auto& socket : sockets_) {
    queue.sockets.push_back(socket->describe());
  }
  return queue;
}

void AfXdpQueue::write_heartbeats() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto nanoseconds = static_cast<__u64>(now.tv_sec) * 1'000'000'000 + static_cast<__u64>(now.tv_nsec);
  for (isthmus_heartbeat* heartbeat : heartbeats_) {
    std::atomic_ref(heartbeat->nanoseconds).store(nanoseconds & ~ISTHMUS_NOT_POLLED, std::memory_order_relaxed);
  }
}

unsigned AfXdpQueue::receive(std::span<Frame> out) noexcept {
  write_heartbeats();
  unsigned n = 0;
  for (std::size_t i = 0; i < sockets_.size() && n < out.size(); ++i) {
    n += sockets_[(first_ + i) % sockets_.size()]->receive(out.subspan(n));
  }
  first_ = first_ + 1 < sockets_.size() ? first_ + 1 : 0;
  if (n == 0) {
    for (const auto& socket : sockets_) {
      socket->poll_driver();
    }
  }
  return n;
}

unsigned AfXdpQueue::transmit(std::span<const Frame> frames) noexcept {
  return sockets_.empty() ? 0 : sockets_.front()->transmit(frames);
}

void AfXdpQueue::flush() noexcept {
  if (!sockets_.empty()) {
    sockets_.front()->flush();
  }
}

bool AfXdpQueue::arm() noexcept {
  // Frames that the kernel cannot send now (interface down) are no reason to spin: poll(2) retries them.
  flush();
  return std::none_of(sockets_.begin(), sockets_.end(), [](const auto& socket) { return socket->readable(); });
}

QueueCounters AfXdpQueue::counters() const noexcept {
  QueueCounters counters = counters_.read();
  for (const auto& socket : sockets_) {
    const XskSocket::KernelCounters kernel = socket->kernel_counters();
    counters.rx_no_frame += kernel.no_frame;
    counters.rx_overrun += kernel.ring_full;
    counters.oversize += kernel.too_long;
    counters.tx_refused += kernel.refused;
  }
  return counters;
}

}  // namespace isthmus
