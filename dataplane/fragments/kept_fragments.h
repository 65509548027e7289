// Memory for fragments that wait: of datagrams whose first fragment has not come yet, and of tunnel packets that the
// underlay has fragmented. Places of a fixed number and size, shared by all workers, because the fragments of one
// datagram need not reach the same one; what is kept is copied, so that frames stay with the worker that received
// them. Places that belong together form a list. Lengths in bytes.
// Threads: any; a list belongs to who holds its head. No allocation after construction. Failure: take() returns none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "dataplane/base/spin_lock.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/origin.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

inline constexpr std::uint32_t kNoPlace = 0xffffffff;

// One place: what is kept, and how it came.
struct alignas(64) KeptFragment {
  std::uint32_t next = kNoPlace;
  std::uint16_t start = 0, length = 0;        // of the frame, within `bytes`
  std::uint32_t frames = 0, frame_bytes = 0;  // received frames that it was made of, and their lengths
  IpAddress peer;                             // whose tunnel it came in, by its underlay address; unspecified: none
  Origin origin;                              // as it was when it came
  DeviceId device;
  Be16 source_port, destination_port;  // once the first fragment of the datagram has shown them
  IpProtocol protocol{};

  // An Ethernet frame without the tunnel's headers.
  alignas(64) std::uint8_t bytes[4096 - 64];
};
static_assert(sizeof(KeptFragment) == 4096 && sizeof(KeptFragment::bytes) >= 4096 - kFrameHeadroom);

class KeptFragments {
 public:
  explicit KeptFragments(std::uint32_t places);
  ~KeptFragments();
  KeptFragments(const KeptFragments&) = delete;
  KeptFragments& operator=(const KeptFragments&) = delete;

  // A place of one's own, a list of one. kNoPlace: all are in use.
  [[nodiscard]] std::uint32_t take() noexcept;
  // The whole list.
  void release(std::uint32_t first) noexcept;
  [[nodiscard]] KeptFragment& operator[](std::uint32_t place) noexcept { return places_[place]; }
  // One more received frame is in the place.
  void add_frame(std::uint32_t place, std::uint32_t bytes) noexcept {
    ++places_[place].frames;
    places_[place].frame_bytes += bytes;
    frames_.fetch_add(1, std::memory_order_relaxed);
  }
  // In all places.
  [[nodiscard]] std::uint32_t frames() const noexcept { return frames_.load(std::memory_order_relaxed); }

 private:
  std::uint32_t size_;
  std::atomic<std::uint32_t> frames_{0};
  KeptFragment* places_;  // memory that is not touched before it is used
  SpinLock lock_;
  std::uint32_t free_ = kNoPlace;  // list of those that have been used
  std::uint32_t fresh_ = 0;        // those from here on have not
};

}  // namespace isthmus
