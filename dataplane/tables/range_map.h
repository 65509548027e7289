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
  [[nodiscard]] std::uint32_t find(Realm realm, const IpAddress& address) const noexcept;
  [[nodiscard]] std::size_t ranges() const noexcept { return starts_.size(); }

 private:
  struct Start {
    Realm realm;
    IpAddress address;
    std::uint32_t value = kMiss;
  };
  std::vector<Start> starts_;  // ascending; a range extends to the next start
};

}  // namespace isthmus
