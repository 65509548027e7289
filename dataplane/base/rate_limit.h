// Token buckets: of flow events by verdict, and of the ICMP errors that the gateway originates. One thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace isthmus {

// `per_second` events per second, and bursts of the same size. Counts in time, so that no fraction of an event is lost.
class RateLimit {
 public:
  explicit RateLimit(std::uint32_t per_second = 0) noexcept { set(per_second); }

  void set(std::uint32_t per_second) noexcept {
    cost_ns_ = per_second == 0 ? 0 : std::max<std::uint64_t>(kSecond / per_second, 1);
  }

  [[nodiscard]] bool take(std::uint64_t now_ns) noexcept {
    if (cost_ns_ == 0) {
      return false;
    }
    spent_until_ns_ = std::max(spent_until_ns_, now_ns > kSecond ? now_ns - kSecond : 0);
    if (spent_until_ns_ + cost_ns_ > now_ns) {
      return false;
    }
    spent_until_ns_ += cost_ns_;
    return true;
  }

 private:
  static constexpr std::uint64_t kSecond = 1'000'000'000;
  std::uint64_t cost_ns_ = 0;         // of an event; 0: none is allowed
  std::uint64_t spent_until_ns_ = 0;  // the time up to which tokens have been spent
};

// A limit for each kind of error, so that one kind cannot use up another's, and within it a share of a quarter for each
// source prefix. Prefixes share entries by hash: two that collide share their share.
template <std::size_t kKinds>
class KindLimits {
 public:
  explicit KindLimits(std::uint32_t per_second) noexcept {
    for (Kind& kind : kinds_) {
      kind.all.set(per_second);
      for (RateLimit& share : kind.shares) {
        share.set(per_second == 0 ? 0 : std::max(per_second / 4, 1u));
      }
    }
  }

  // `kind` below kKinds; `prefix_hash`: of the source prefix.
  [[nodiscard]] bool take(std::size_t kind, std::uint64_t prefix_hash, std::uint64_t now_ns) noexcept {
    Kind& limits = kinds_[kind];
    return limits.shares[prefix_hash % kShares].take(now_ns) && limits.all.take(now_ns);
  }

 private:
  static constexpr std::size_t kShares = 256;
  struct Kind {
    RateLimit all;
    std::array<RateLimit, kShares> shares;
  };
  std::array<Kind, kKinds> kinds_;
};

}  // namespace isthmus
