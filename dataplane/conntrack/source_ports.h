// Source ports for translation: which ports a flow tries, in which order.
//
// Stateless: a port is free if the connection table accepts the reply key with it (InsertOutcome::kReplyTaken: try the
// next). The client's own port comes first if it is in the range, then at most 32 others from a random start, each
// once. On exhaustion the caller drops the packet. ICMP echo identifiers use the whole range 0-65535. Plain value on
// the worker's stack.
#pragma once

#include <cstdint>
#include <numeric>
#include <optional>

#include "dataplane/base/types.h"

namespace isthmus {

struct PortRange {
  std::uint16_t first = 32768;
  std::uint16_t last = 65535;  // inclusive, >= first
  [[nodiscard]] constexpr bool contains(L4Port p) const noexcept { return p.value() >= first && p.value() <= last; }
};
inline constexpr PortRange kEchoIdentifiers{0, 65535};

class SourcePorts {
 public:
  static constexpr unsigned kTries = 32;

  // `random`: 64 fresh random bits.
  SourcePorts(PortRange range, L4Port own, std::uint64_t random) noexcept
      : range_(range), own_(own), size_(std::uint32_t{range.last} - range.first + 1) {
    start_ = static_cast<std::uint32_t>(random >> 32) % size_;
    step_ = static_cast<std::uint32_t>(random & 0xffff) % size_ | 1;
  }

  // The next port to try; nullopt when all tries are used up.
  [[nodiscard]] std::optional<L4Port> next() noexcept {
    if (!own_tried_) {
      own_tried_ = true;
      if (range_.contains(own_)) {
        return own_;
      }
    }
    if (tries_ == 0) {  // a step coprime to the size visits every port before it repeats one
      while (std::gcd(step_, size_) != 1) {
        step_ += 2;
      }
    }
    while (tries_ < kTries && tries_ < size_) {
      const std::uint32_t offset = static_cast<std::uint32_t>((start_ + std::uint64_t{tries_} * step_) % size_);
      ++tries_;
      const L4Port port{static_cast<std::uint16_t>(range_.first + offset)};
      if (port != own_ || !range_.contains(own_)) {
        return port;
      }
    }
    return std::nullopt;
  }

 private:
  PortRange range_;
  L4Port own_;
  std::uint32_t size_;
  std::uint32_t start_ = 0;
  std::uint32_t step_ = 1;
  std::uint32_t tries_ = 0;
  bool own_tried_ = false;
};

}  // namespace isthmus
