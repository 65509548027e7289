// Token buckets: of flow events by verdict, of the ICMP errors and answers that the gateway originates, and of the next
// hops that packets make. One thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "dataplane/base/mix.h"

namespace isthmus {

// `per_second` events per second, and bursts of the same size. Counts in time, so that no fraction of an event is lost.
class RateLimit {
 public:
  explicit RateLimit(std::uint32_t per_second = 0) noexcept { set(per_second); }

  void set(std::uint32_t per_second) noexcept {
    cost_ns_ = per_second == 0 ? 0 : std::max<std::uint64_t>(kSecond / per_second, 1);
  }

  [[nodiscard]] bool allows(std::uint64_t now_ns) const noexcept {
    return cost_ns_ != 0 && from(now_ns) + cost_ns_ <= now_ns;
  }
  [[nodiscard]] bool take(std::uint64_t now_ns) noexcept {
    if (!allows(now_ns)) {
      return false;
    }
    spent_until_ns_ = from(now_ns) + cost_ns_;
    return true;
  }

 private:
  static constexpr std::uint64_t kSecond = 1'000'000'000;
  [[nodiscard]] std::uint64_t from(std::uint64_t now_ns) const noexcept {
    return std::max(spent_until_ns_, now_ns > kSecond ? now_ns - kSecond : 0);
  }
  std::uint64_t cost_ns_ = 0;         // of an event; 0: none is allowed
  std::uint64_t spent_until_ns_ = 0;  // the time up to which tokens have been spent
};

// A limit of its own for each of many senders, by a keyed hash: those that collide share one, and nobody can choose to.
class SenderLimits {
 public:
  explicit SenderLimits(std::uint32_t per_second) { limits_.fill(RateLimit(per_second)); }
  [[nodiscard]] bool take(std::uint64_t sender, std::uint64_t now_ns) noexcept { return of(sender).take(now_ns); }
  [[nodiscard]] RateLimit& of(std::uint64_t sender) noexcept {
    return limits_[folded_product(sender ^ secret_, secret_) % kSenders];
  }

 private:
  static constexpr std::size_t kSenders = 256;
  std::array<RateLimit, kSenders> limits_;
  std::uint64_t secret_ = random_word() | 1;
};

// Limits of one kind of error: for each sender, within it a quarter for each source prefix, and 64 times that for all
// senders together, which only bounds the work.
class ErrorLimits {
 public:
  explicit ErrorLimits(std::uint32_t per_second)
      : all_(per_second * std::uint64_t{64} > UINT32_MAX ? UINT32_MAX : per_second * 64),
        senders_(per_second),
        prefixes_(per_second == 0 ? 0 : std::max(per_second / kShares, 1u)) {}
  // Limits by which each source prefix has so many.
  [[nodiscard]] static ErrorLimits of_prefixes(std::uint32_t per_second) {
    return ErrorLimits(std::min(per_second, UINT32_MAX / kShares) * kShares);
  }

  [[nodiscard]] bool take(std::uint64_t sender, std::uint64_t prefix, std::uint64_t now_ns) noexcept {
    RateLimit &of_prefix = prefixes_.of(prefix), &of_sender = senders_.of(sender);
    // What one of them refuses is not taken from the others.
    return of_prefix.allows(now_ns) && of_sender.allows(now_ns) && all_.take(now_ns) && of_prefix.take(now_ns) &&
           of_sender.take(now_ns);
  }

 private:
  static constexpr std::uint32_t kShares = 4;
  RateLimit all_;
  SenderLimits senders_, prefixes_;
};

}  // namespace isthmus
