// What the writing process and the gateway's process share: a page of memory. Times are CLOCK_MONOTONIC, nanoseconds.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace isthmus::perf {

inline constexpr std::size_t kMostProbes = 8192;

enum class Phase : std::uint32_t { kSyncing, kSettling, kQuiet, kChurn, kDone };

struct Shared {
  std::atomic<Phase> phase{Phase::kSyncing};
  // The writer gives probe n's identity to the probed endpoint; the gateway tells when a packet under it first passed.
  std::atomic<std::uint32_t> probe{0};  // the newest; 0: none yet
  std::array<std::atomic<std::int64_t>, kMostProbes> passed{};
  std::atomic<bool> ready{false};
  // The gateway's figures.
  double sync_seconds = 0, serve_seconds = 0;
  double base_kib = 0, synced_kib = 0, peak_kib = 0;
  double objects = 0, endpoints = 0, rings = 0, ring_slots = 0;
  std::array<double, 2> cycles{}, seconds{}, readmissions{}, packets{}, lost{};  // quiet, churn
  std::uint64_t publishes = 0;
};

}  // namespace isthmus::perf
