// What workers remember of how connections to watched services open: when each backend has answered last, and until
// when control wants to hear of a service's answers.
//
// A connection that failed speaks against its backend only if that has answered nobody since the connection was opened.
// Hence a backend that serves others is out of reach of whoever makes his own connections fail, however many at once;
// and a client can make nothing but answers look newer, which protects the backend. Where numbers share a cell, an
// answer protects both backends, and more is told to control than it asked for.
//
// Time: seconds of the workers, whose clocks may differ. Threads: any. Owner: SharedState. Cannot fail.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/api/openings.h"
#include "dataplane/base/types.h"

namespace isthmus {

class OpeningMemory {
 public:
  // The backend has answered. Whether control wants to hear of it.
  [[nodiscard]] bool answered(ServiceId service, BackendId backend, Seconds now) noexcept {
    std::atomic<std::uint32_t>& last = answers_[backend.value() % kBackends];
    if (after(now.value(), last.load(std::memory_order_relaxed)) > 0) {  // the line is every worker's
      last.store(now.value(), std::memory_order_relaxed);
    }
    return after(told_until_[service.value() % kServices].load(std::memory_order_relaxed), now.value()) > 0;
  }
  // A connection that was opened at `since` has failed. Whether control is to hear of it: the backend has answered
  // nobody since then, or in the same second. If so, control wants to hear of answers for kOpeningSpan.
  [[nodiscard]] bool failed(ServiceId service, BackendId backend, Seconds since, Seconds now) noexcept {
    const std::uint32_t last = answers_[backend.value() % kBackends].load(std::memory_order_relaxed);
    if (last != kNever && after(last, since.value()) >= 0) {
      return false;
    }
    told_until_[service.value() % kServices].store(now.value() + kOpeningSpan.value(), std::memory_order_relaxed);
    return true;
  }

 private:
  static constexpr std::size_t kServices = 1024;
  static constexpr std::size_t kBackends = 131072;  // control gives a number out again after 65,536 others
  static constexpr std::uint32_t kNever = 0;

  // Signed, because a clock that is behind another's must not look like one that is far ahead.
  [[nodiscard]] static constexpr std::int32_t after(std::uint32_t a, std::uint32_t b) noexcept {
    return static_cast<std::int32_t>(a - b);
  }

  std::array<std::atomic<std::uint32_t>, kBackends> answers_{};
  std::array<std::atomic<std::uint32_t>, kServices> told_until_{};
};

}  // namespace isthmus
