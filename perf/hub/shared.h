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

inline constexpr std::size_t kMaxProbes = 65536;

enum class Phase : std::uint32_t { kSyncing, kSettling, kQuiet, kEndpoints, kNodes, kServices, kPolicies, kDone };
// Those that are measured: kQuiet to kPolicies.
inline constexpr std::size_t kPhases = 5;
[[nodiscard]] constexpr bool is_measured(Phase phase) { return phase >= Phase::kQuiet && phase < Phase::kDone; }
// 0 for kQuiet. Precondition: is_measured(phase).
[[nodiscard]] constexpr std::size_t index_of(Phase phase) {
  return static_cast<std::size_t>(phase) - static_cast<std::size_t>(Phase::kQuiet);
}

// CPU time of the control thread for one publish, from the poll of the source to the engine's new tables, of the
// publishes with at least one change of the phase's kind.
struct ChangeCost {
  double publishes = 0, changes = 0;
  double total_ms = 0, median_ms = 0, p99_ms = 0, max_ms = 0;
};

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
  std::array<double, kPhases> cycles{}, seconds{}, revalidations{}, packets{}, lost{};
  std::array<ChangeCost, kPhases> costs{};
  std::uint64_t publishes = 0;
};

}  // namespace isthmus::perf
