// The probes of each peer that it may still answer, so that of all answers only the first to each of our probes goes
// on to control. Threads: sent() the worker that sends probes, take() any worker; lock-free.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/base/types.h"

namespace isthmus {

class OutstandingProbes {
 public:
  static constexpr std::uint32_t kPeers = 1 << 17;  // peers with a higher number cannot answer
  static constexpr std::uint32_t kRemembered = 32;  // the last ones of a peer

  void sent(PeerId peer, std::uint32_t sequence) noexcept {
    if (peer.value() >= kPeers) {
      return;
    }
    std::atomic<std::uint64_t>& word = words_[peer.value()];
    std::uint64_t old = word.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
      const std::uint32_t ahead = sequence - last_of(old);
      const std::uint32_t open = ahead < kRemembered ? static_cast<std::uint32_t>(old) << ahead : 0;
      next = std::uint64_t{sequence} << 32 | open | 1;
    } while (!word.compare_exchange_weak(old, next, std::memory_order_relaxed));
  }
  // Whether the peer owes an answer to this probe. It no longer does.
  [[nodiscard]] bool take(PeerId peer, std::uint32_t sequence) noexcept {
    if (peer.value() >= kPeers) {
      return false;
    }
    std::atomic<std::uint64_t>& word = words_[peer.value()];
    std::uint64_t old = word.load(std::memory_order_relaxed);
    std::uint64_t bit = 0;
    do {
      const std::uint32_t behind = last_of(old) - sequence;
      bit = behind < kRemembered ? std::uint64_t{1} << behind : 0;
      if ((old & bit) == 0) {
        return false;
      }
    } while (!word.compare_exchange_weak(old, old & ~bit, std::memory_order_relaxed));
    return true;
  }

 private:
  // Number of the last probe, and a bit for it and for each of the 31 before it: not answered yet.
  [[nodiscard]] static constexpr std::uint32_t last_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word >> 32);
  }
  std::unique_ptr<std::atomic<std::uint64_t>[]> words_ = std::make_unique<std::atomic<std::uint64_t>[]>(kPeers);
};

}  // namespace isthmus
