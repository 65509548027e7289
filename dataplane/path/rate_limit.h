// A token bucket: `per_second` events per second, and bursts of the same size. One thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace isthmus {

class RateLimit {
 public:
  explicit RateLimit(std::uint32_t per_second) noexcept : per_second_(per_second), tokens_(per_second) {}

  [[nodiscard]] bool take(std::uint64_t now_ns) noexcept {
    constexpr std::uint64_t kSecond = 1'000'000'000;
    const std::uint64_t elapsed = std::min(now_ns - last_ns_, kSecond);
    const std::uint64_t earned = elapsed * per_second_ / kSecond;
    if (earned > 0) {
      tokens_ = std::min<std::uint64_t>(per_second_, tokens_ + earned);
      last_ns_ = now_ns;
    }
    if (tokens_ == 0) {
      return false;
    }
    --tokens_;
    return true;
  }

 private:
  std::uint32_t per_second_;
  std::uint64_t tokens_;
  std::uint64_t last_ns_ = 0;
};

}  // namespace isthmus
