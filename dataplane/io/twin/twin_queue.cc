#include "dataplane/io/twin/twin_queue.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "dataplane/net/headers.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kTagBytes = 4;
constexpr std::uint16_t kTag8021q = 0x8100, kTag8021ad = 0x88a8, kTypeArp = 0x0806, kTypeIpv4 = 0x0800,
                        kTypeIpv6 = 0x86dd;
// IP precedences 6 and 7, internetwork and network control (RFC 791, RFC 2474 section 4.2.2).
constexpr std::uint8_t kLeastControlClass = 0xc0;
constexpr std::uint8_t kIcmpv6 = 58, kRouterSolicitation = 133, kRedirect = 137;  // RFC 4861: neighbour discovery

std::uint16_t type_at(const Frame& frame, std::uint32_t offset) noexcept {
  net::Wire16 type;
  std::memcpy(&type, frame.data + offset, sizeof type);
  return type.host();
}

// Precondition: it has an Ethernet header.
bool is_tagged(const Frame& frame) noexcept {
  const std::uint16_t type = type_at(frame, offsetof(net::Ethernet, type));
  return type == kTag8021q || type == kTag8021ad;
}

bool is_urgent(const Frame& frame) noexcept {
  const std::uint32_t ip = sizeof(net::Ethernet) + (is_tagged(frame) ? kTagBytes : 0);
  if (frame.length < ip) {
    return false;
  }
  const std::uint8_t* header = frame.data + ip;
  const std::uint32_t left = frame.length - ip;
  switch (type_at(frame, ip - 2)) {
    case kTypeArp:
      return true;
    case kTypeIpv4:
      return left >= sizeof(net::Ipv4) && header[offsetof(net::Ipv4, tos)] >= kLeastControlClass;
    case kTypeIpv6: {
      if (left <= sizeof(net::Ipv6)) {
        return false;
      }
      const unsigned traffic_class = (header[0] & 0x0fu) << 4 | header[1] >> 4;
      const std::uint8_t type = header[sizeof(net::Ipv6)];
      return traffic_class >= kLeastControlClass ||
             (header[offsetof(net::Ipv6, next_header)] == kIcmpv6 && type >= kRouterSolicitation && type <= kRedirect);
    }
    default:
      return false;
  }
}

}  // namespace

bool Sleeper::open() noexcept {
  event_ = UniqueFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  return event_.valid();
}

void Sleeper::ring_bell() noexcept {
  // It can fail only where the count is at its end: then the descriptor is readable already.
  const std::uint64_t one = 1;
  static_cast<void>(!write(event_.get(), &one, sizeof one));
}

void Sleeper::get_up() noexcept {
  sleeps_.exchange(false, std::memory_order_acq_rel);
  take_back_bells();
}

void Sleeper::take_back_bells() noexcept {
  std::uint64_t count;
  static_cast<void>(!read(event_.get(), &count, sizeof count));
}

TwinQueue::TwinQueue(std::shared_ptr<TwinShared> shared, const Sizes& sizes, bool takes)
    : shared_(std::move(shared)),
      urgent_(sizes.urgent_frames, sizes.frame_bytes),
      ordinary_(sizes.frames, sizes.frame_bytes),
      from_host_(takes ? std::make_unique<FrameRing>(sizes.frames, sizes.frame_bytes) : nullptr) {}

void TwinQueue::give(std::span<const Frame> frames, FramePool& pool) noexcept {
  const bool open = shared_->open.load(std::memory_order_acquire);
  const std::uint32_t longest = shared_->longest.load(std::memory_order_relaxed);
  unsigned given = 0, full = 0;
  for (const Frame& frame : frames) {
    const bool fits =
        open && frame.length >= sizeof(net::Ethernet) && frame.length <= longest + (is_tagged(frame) ? kTagBytes : 0);
    if (fits) [[likely]] {
      const bool pushed = (is_urgent(frame) ? urgent_ : ordinary_).push({frame.data, frame.length});
      ++(pushed ? given : full);
    }
    pool.release(frame.chunk);
  }
  counters_.to_host.add(given);
  counters_.host_full.add(full);
  counters_.host_refused.add(frames.size() - given - full);
  if (given != 0) {
    shared_->thread.wake();
  }
}

unsigned TwinQueue::take(std::span<Frame> out, FramePool& pool) noexcept {
  if (from_host_ == nullptr) {
    return 0;
  }
  unsigned n = 0;
  while (n < out.size() && !from_host_->empty()) {
    const std::span<const std::uint8_t> bytes = from_host_->front();
    const auto length = static_cast<std::uint32_t>(bytes.size());
    if (length > pool.max_frame()) [[unlikely]] {
      counters_.host_refused.add(1);
      from_host_->pop();
      continue;
    }
    const std::uint32_t chunk = pool.allocate_for(length);
    if (chunk == kNoChunk) [[unlikely]] {
      break;
    }
    out[n] = Frame{pool.chunk_start(chunk) + kFrameHeadroom, length, chunk};
    std::memcpy(out[n].data, bytes.data(), length);
    from_host_->pop();
    ++n;
  }
  if (n != 0) {
    counters_.from_host.add(n);
  }
  return n;
}

bool TwinQueue::arm() noexcept {
  if (from_host_ == nullptr) {
    return true;
  }
  shared_->worker.take_back_bells();
  shared_->worker.lie_down();
  return from_host_->empty();
}

void TwinQueue::put(std::span<const std::uint8_t> frame) noexcept {
  if (frame.size() < sizeof(net::Ethernet) ||
      frame.size() > shared_->longest.load(std::memory_order_relaxed) + kTagBytes) {
    by_thread_.host_refused.add(1);
  } else if (!from_host_->push(frame)) {
    by_thread_.from_host_full.add(1);
  }
}

}  // namespace isthmus
