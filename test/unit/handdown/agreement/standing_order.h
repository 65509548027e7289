// What control has published last, for threads that check others by order: what stands before and after something was
// done stood all the while. Of what is being changed, nothing can be said. Threads: one changes it, any reads it.
#pragma once

#include <atomic>
#include <cstdint>

namespace isthmus::test {

enum class Order : std::uint8_t { kDenied = 1, kOtherGateway = 2, kOtherPort = 4, kOtherHop = 8 };

// A value.
struct Standing {
  std::uint64_t word = 0;
  [[nodiscard]] bool known(Order order) const noexcept { return (word >> 8 & static_cast<std::uint64_t>(order)) == 0; }
  [[nodiscard]] bool is(Order order) const noexcept { return (word & static_cast<std::uint64_t>(order)) != 0; }
  friend bool operator==(Standing, Standing) = default;
};

class StandingOrder {
 public:
  [[nodiscard]] Standing read() const noexcept { return {word_.load(std::memory_order_seq_cst)}; }
  // `apply` makes it so, and has returned when it is.
  template <typename Apply>
  void change(Order order, bool to, Apply&& apply) {
    const auto bit = static_cast<std::uint64_t>(order);
    const std::uint64_t before = word_.load(std::memory_order_relaxed);
    word_.store((before | bit << 8) + kChange, std::memory_order_seq_cst);
    apply();
    word_.store((to ? before | bit : before & ~bit) + 2 * kChange, std::memory_order_seq_cst);
  }

 private:
  static constexpr std::uint64_t kChange = 1 << 16;
  std::atomic<std::uint64_t> word_{0};  // orders; those being changed; how often they were
};

}  // namespace isthmus::test
