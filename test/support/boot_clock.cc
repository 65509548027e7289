#include "test/support/boot_clock.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <ctime>

namespace isthmus::test {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
std::atomic<std::uint64_t> now_ns{1000 * kSecond};

}  // namespace

void set_boot_clock(Nanoseconds now) noexcept { now_ns.store(now.value(), std::memory_order_relaxed); }
Nanoseconds boot_clock() noexcept { return Nanoseconds{now_ns.load(std::memory_order_relaxed)}; }

}  // namespace isthmus::test

// Takes the place of the C library's.
extern "C" int clock_gettime(clockid_t clock, timespec* into) noexcept {
  using namespace isthmus::test;
  if (clock != CLOCK_BOOTTIME) {
    return static_cast<int>(syscall(SYS_clock_gettime, clock, into));
  }
  const std::uint64_t now = boot_clock().value();
  into->tv_sec = static_cast<time_t>(now / kSecond);
  into->tv_nsec = static_cast<long>(now % kSecond);
  return 0;
}
