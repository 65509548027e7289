// TSC cycles that the calling thread was running. If the thread was preempted, its CPU time counts instead, so that
// results from a busy machine are usable. Costs system calls per lap: use laps of many bursts.
#pragma once

#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace isthmus::perf {

// TSC cycles per second, measured once.
[[nodiscard]] inline double tsc_rate() {
  static const double rate = [] {
    constexpr timespec kLong{.tv_sec = 0, .tv_nsec = 50'000'000};
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t before = __rdtsc();
    nanosleep(&kLong, nullptr);
    const std::uint64_t after = __rdtsc();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    return static_cast<double>(after - before) / took.count();
  }();
  return rate;
}

class Stopwatch {
 public:
  void start() {
    cpu_start_ = cpu_seconds();
    tsc_start_ = __rdtsc();
  }
  void stop() {
    const auto elapsed = static_cast<double>(__rdtsc() - tsc_start_);
    cycles_ += std::min(elapsed, (cpu_seconds() - cpu_start_) * tsc_rate());
  }
  // Total of all laps.
  [[nodiscard]] double cycles() const { return cycles_; }

 private:
  static double cpu_seconds() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }
  std::uint64_t tsc_start_ = 0;
  double cpu_start_ = 0, cycles_ = 0;
};

}  // namespace isthmus::perf
