// NumberPool: allocator of the numbers 1..count (connection slots, direction blocks). Numbers are freed at once or
// after a grace period. One cache per worker over a shared stack; no memory is allocated after construction.
//
// Threads: allocate, release, retire and collect by the given worker, which is a reader slot of the quiescence;
// available() any thread. Failure: allocate returns 0 when the worker's cache and the shared stack are empty. Numbers
// that another worker has cached or retired are not available; caches are small, and workers collect before they sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/quiescence.h"
#include "dataplane/base/spin_lock.h"
#include "dataplane/base/types.h"

namespace isthmus {

class NumberPool {
 public:
  // `used[n]`, for 1 <= n <= count, marks numbers already in use (by adopted connections). Low numbers are allocated
  // first.
  NumberPool(std::uint32_t count, unsigned workers, Quiescence& quiescence, const std::vector<bool>& used);
  NumberPool(const NumberPool&) = delete;
  NumberPool& operator=(const NumberPool&) = delete;

  [[nodiscard]] std::uint32_t allocate(WorkerId worker) noexcept {
    Cache& cache = caches_[worker.value()];
    return cache.size != 0 ? cache.numbers[--cache.size] : allocate_refilled(worker);
  }
  // The number that the allocate() after `ahead` others will return, if it is in the worker's cache; else 0.
  [[nodiscard]] std::uint32_t upcoming(WorkerId worker, unsigned ahead) const noexcept {
    const Cache& cache = caches_[worker.value()];
    return ahead < cache.size ? cache.numbers[cache.size - 1 - ahead] : 0;
  }
  // Frees a number that no reader can hold: it can be allocated again at once.
  void release(WorkerId worker, std::uint32_t number) noexcept;
  // Frees a number that readers may still hold: it can be allocated again after a grace period.
  void retire(WorkerId worker, std::uint32_t number) noexcept;
  // Frees retired numbers whose grace period is over. Call once per round; costs two loads when there are none.
  void collect(WorkerId worker) noexcept;

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  // Free numbers in the shared stack (without the caches).
  [[nodiscard]] std::uint32_t available() const noexcept { return depth_.load(std::memory_order_relaxed); }

 private:
  // Retired numbers, in a stack large enough for all of them; pages that were never touched take no memory.
  // `open` collects numbers, `closing` waits for its ticket.
  struct Retired {
    std::unique_ptr<std::uint32_t[]> numbers;
    std::uint32_t size = 0;
    std::uint64_t ticket = 0;
  };
  struct alignas(64) Cache {
    std::uint32_t size = 0;
    std::uint32_t numbers[128] = {};
    Retired open, closing;
  };
  [[nodiscard]] std::uint32_t allocate_refilled(WorkerId worker) noexcept;
  [[nodiscard]] bool refill(Cache& cache) noexcept;
  void spill(Cache& cache, std::uint32_t keep) noexcept;
  void push(Cache& cache, std::uint32_t number) noexcept;

  std::uint32_t count_;
  std::uint32_t batch_;  // numbers moved between a cache and the stack at a time; a cache holds at most two
  Quiescence& quiescence_;
  std::unique_ptr<Cache[]> caches_;
  std::unique_ptr<std::uint32_t[]> stack_;
  alignas(64) SpinLock lock_;
  std::atomic<std::uint32_t> depth_{0};  // written under lock_
};

}  // namespace isthmus
