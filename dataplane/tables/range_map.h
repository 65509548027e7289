// RangeMap: longest-prefix match over (realm, 128-bit address) by binary search in disjoint ranges.
// Built by control, immutable afterwards, part of a snapshot; read by workers at admission.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

class RangeMap {
 public:
  struct Item {
    Realm realm;
    Prefix prefix;
    std::uint32_t value = 0;  // any value except kMiss
  };
  static constexpr std::uint32_t kMiss = 0xffffffff;

  RangeMap() = default;
  // Of equal prefixes the last one wins.
  explicit RangeMap(const std::vector<Item>& items);

  // The value of the longest prefix that contains the address, or kMiss. O(log n) in the number of prefixes.
  [[nodiscard]] std::uint32_t find(Realm realm, const IpAddress& address) const noexcept {
    if (realm != ipv4_realm_ || !address.is_ipv4()) [[unlikely]] {
      return find_any(realm, address);
    }
    const std::uint32_t wanted = address.as_ipv4().host();
    std::size_t first = 0;
    for (std::size_t count = ipv4_starts_.size(); count > 1;) {
      const std::size_t half = count / 2;
      first += ipv4_starts_[first + half].address <= wanted ? half : 0;
      count -= half;
    }
    return ipv4_starts_[first].value;
  }
  [[nodiscard]] std::size_t ranges() const noexcept { return starts_.size(); }

 private:
  struct Start {
    Realm realm;
    IpAddress address;
    std::uint32_t value = kMiss;
  };
  [[nodiscard]] std::uint32_t find_any(Realm realm, const IpAddress& address) const noexcept;

  std::vector<Start> starts_;  // ascending; a range extends to the next start
  // The IPv4 ranges of the first realm again, in few cache lines; the first one starts at address 0.
  struct Ipv4Start {
    std::uint32_t address = 0;  // host byte order
    std::uint32_t value = kMiss;
  };
  Realm ipv4_realm_;
  std::vector<Ipv4Start> ipv4_starts_{Ipv4Start{}};
};

}  // namespace isthmus
