// Memory shared by the writing process and the gateway's process. Times are CLOCK_MONOTONIC, nanoseconds.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace isthmus::perf {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}
inline std::int64_t now_ns() { return Clock::now().time_since_epoch().count(); }

inline constexpr std::size_t kMaxProbes = 8192;

enum class Phase : std::uint32_t { kSyncing, kSettling, kQuiet, kChurn, kDone };

struct Shared {
  std::atomic<Phase> phase{Phase::kSyncing};
  // The writer gives the probed endpoint the identity of probe n; the gateway reports when a packet with it first
  // passed.
  std::atomic<std::uint32_t> probe{0};  // the newest; 0: none yet
  std::array<std::atomic<std::int64_t>, kMaxProbes> passed{};
  std::atomic<bool> ready{false};
  // Results of the gateway.
  double sync_seconds = 0, serve_seconds = 0;
  double base_kib = 0, synced_kib = 0, peak_kib = 0;
  double objects = 0, endpoints = 0, rings = 0, ring_slots = 0;
  std::array<double, 2> cycles{}, seconds{}, revalidations{}, packets{}, lost{};  // quiet, churn
  std::uint64_t publishes = 0;
};

}  // namespace isthmus::perf
