// SpinLock: for critical sections of some hundred nanoseconds on shared tables, off the per-packet path. Not recursive,
// any thread. After kSpins iterations the holder is probably not running (more threads than cores), and the waiter
// yields the CPU: the only system call a worker makes outside io/.
#pragma once

#include <atomic>
#include <thread>

namespace isthmus {

class SpinLock {
 public:
  void take() noexcept {
    unsigned spins = 0;
    while (held_.exchange(true, std::memory_order_acquire)) {
      while (held_.load(std::memory_order_relaxed)) {
        if (++spins % kSpins == 0) {
          std::this_thread::yield();
        } else {
          relax();
        }
      }
    }
  }
  void release() noexcept { held_.store(false, std::memory_order_release); }

 private:
  static constexpr unsigned kSpins = 1024;
  static void relax() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
  }
  std::atomic<bool> held_{false};
};

}  // namespace isthmus
