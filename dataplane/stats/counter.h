// A 64-bit count with one writer and any readers, all with relaxed accesses. `add` is a plain load, add and store.
#pragma once

#include <atomic>
#include <cstdint>

namespace isthmus {

class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace isthmus
