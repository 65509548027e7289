#include "dataplane/io/dpdk/dpdk_queue.h"

#include <rte_interrupts.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace isthmus {

void DpdkQueue::use_interrupts() noexcept {
  wait_count_ = 0;
  epoll_ = UniqueFd();
  if (takes_from_host()) {
    wait_fds_[wait_count_++] = setup_.host->wait_fd();
  }
  UniqueFd epoll(setup_.receives ? epoll_create1(EPOLL_CLOEXEC) : -1);
  if (!epoll.valid() || rte_eth_dev_rx_intr_ctl_q(port_, setup_.queue, epoll.get(), RTE_INTR_EVENT_ADD, nullptr) != 0) {
    return;
  }
  epoll_ = std::move(epoll);
  wait_fds_[wait_count_++] = epoll_.get();
}

// A received buffer as a frame. False: it is lost, and counted.
bool DpdkQueue::adopt(rte_mbuf* mbuf, Frame& frame) noexcept {
  if (!setup_.mempool->owns(mbuf) || mbuf->nb_segs != 1) [[unlikely]] {
    return copy_in(mbuf, frame);
  }
  frame.data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  frame.length = mbuf->data_len;
  frame.chunk = setup_.mempool->chunk_of(mbuf);
  return true;
}

bool DpdkQueue::copy_in(rte_mbuf* mbuf, Frame& frame) noexcept {
  std::uint32_t length = 0;
  for (const rte_mbuf* part = mbuf; part != nullptr; part = part->next) {
    length += part->data_len;
  }
  const bool sound = length == mbuf->pkt_len, fits = length <= pool_.max_frame();
  const std::uint32_t chunk = sound && fits ? pool_.allocate_for(length) : kNoChunk;
  if (chunk != kNoChunk) {
    frame = Frame{pool_.chunk_start(chunk) + kFrameHeadroom, length, chunk};
    std::uint8_t* to = frame.data;
    for (const rte_mbuf* part = mbuf; part != nullptr; part = part->next) {
      std::memcpy(to, rte_pktmbuf_mtod(part, const void*), part->data_len);
      to += part->data_len;
    }
    counters_.copied.add(1);
  } else {
    (!sound ? counters_.rx_errors : fits ? counters_.rx_no_frame : counters_.oversize).add(1);
  }
  rte_pktmbuf_free(mbuf);
  return chunk != kNoChunk;
}

unsigned DpdkQueue::receive(std::span<Frame> out) noexcept {
  if (!setup_.receives || out.empty() || setup_.port->gone()) {
    return 0;
  }
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  const unsigned room = std::min<unsigned>(static_cast<unsigned>(out.size()), kMaxBurst);
  const unsigned arrived = rte_eth_rx_burst(port_, setup_.queue, mbufs.data(), static_cast<std::uint16_t>(room));
  unsigned n = 0;
  std::uint64_t bytes = 0;
  for (unsigned i = 0; i < arrived; ++i) {
    if (adopt(mbufs[i], out[n])) [[likely]] {
      bytes += out[n].length;
      ++n;
    }
  }
  if (arrived != 0) {
    counters_.rx_packets.add(n);
    counters_.rx_bytes.add(bytes);
  }
  return n;
}

// Frames of one kind, at most a burst; those that are not accepted stay with the caller.
unsigned DpdkQueue::send(std::span<const Frame> frames) noexcept {
  if (setup_.port->gone()) [[unlikely]] {
    return 0;
  }
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    mbufs[i] = setup_.mempool->begin_send(frames[i], padded_length(frames[i]));
  }
  const auto count = static_cast<std::uint16_t>(frames.size());
  const unsigned sent = rte_eth_tx_burst(port_, setup_.queue, mbufs.data(), count);
  for (unsigned i = sent; i < count; ++i) {
    setup_.mempool->end_send(*mbufs[i]);
  }
  return sent;
}

// A long chunk has no message buffer: what of it is short enough is copied into one that has.
DpdkQueue::Long DpdkQueue::send_long(const Frame& frame) noexcept {
  if (frame.length > pool_.max_short_frame()) {
    counters_.tx_refused.add(1);
    pool_.release(frame.chunk);
    return Long::kRefused;
  }
  const std::uint32_t chunk = pool_.allocate();
  if (chunk == kNoChunk) {
    return Long::kNoRoom;
  }
  const Frame copy{pool_.chunk_start(chunk) + kFrameHeadroom, frame.length, chunk};
  std::memcpy(copy.data, frame.data, frame.length);
  const bool sent = send({&copy, 1}) == 1;
  counters_.copied.add(sent ? 1 : 0);
  pool_.release(sent ? frame.chunk : chunk);
  return sent ? Long::kSent : Long::kNoRoom;
}

// Frames of both kinds, from the front.
DpdkQueue::Sent DpdkQueue::send_any(std::span<const Frame> frames) noexcept {
  Sent sent;
  const auto is_long = [this](const Frame& frame) { return pool_.is_long(frame.chunk); };
  while (sent.taken < frames.size()) {
    const std::span<const Frame> rest = frames.subspan(sent.taken);
    const auto run = static_cast<std::size_t>(std::find_if(rest.begin(), rest.end(), is_long) - rest.begin());
    const Long how = run == 0 ? send_long(rest.front()) : Long::kSent;
    const std::size_t tried = std::clamp<std::size_t>(run, 1, kMaxBurst);
    const unsigned taken = run == 0 ? unsigned{how != Long::kNoRoom} : send(rest.first(tried));
    for (const Frame& frame : rest.first(how == Long::kSent ? taken : 0)) {
      ++sent.packets;
      sent.bytes += std::max(frame.length, kShortestFrame);
    }
    sent.taken += taken;
    if (taken < tried) {
      break;
    }
  }
  return sent;
}

unsigned DpdkQueue::transmit(std::span<const Frame> frames) noexcept {
  const Sent sent = send_any(frames);
  counters_.tx_packets.add(sent.packets);
  counters_.tx_bytes.add(sent.bytes);
  counters_.tx_full.add(frames.size() - sent.taken);
  return sent.taken;
}

void DpdkQueue::flush() noexcept {
  if (setup_.comes_and_goes) {
    setup_.mempool->claim();
    setup_.mempool->tend_reserve();
  }
  if (!takes_from_host()) {
    return;
  }
  std::array<Frame, kHostBurst> frames;
  const unsigned count = setup_.host->take(frames, pool_);
  if (count == 0) {
    return;
  }
  const unsigned sent = send_any({frames.data(), count}).taken;
  for (unsigned i = sent; i < count; ++i) {
    pool_.release(frames[i].chunk);
  }
  setup_.host->not_sent(count - sent);
}

bool DpdkQueue::arm() noexcept {
  if (takes_from_host() && !setup_.host->arm()) {
    return false;
  }
  if (!epoll_.valid() || setup_.port->gone()) {
    return true;
  }
  rte_epoll_event event;
  static_cast<void>(rte_epoll_wait(epoll_.get(), &event, 1, 0));  // takes the last wake-up back
  return rte_eth_dev_rx_intr_enable(port_, setup_.queue) == 0 && rte_eth_rx_queue_count(port_, setup_.queue) <= 0;
}

QueueCounters DpdkQueue::counters() const noexcept {
  QueueCounters counts = counters_.read();
  if (setup_.host != nullptr) {
    setup_.host->add_to(counts);
  }
  return counts;
}

}  // namespace isthmus
