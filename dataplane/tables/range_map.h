// RangeMap: longest-prefix lookup over (realm, 128-bit address), flattened to disjoint ranges and searched by halving.
// Built whole by control, immutable afterwards, part of a snapshot; read by workers at admission.
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
    std::uint32_t value = 0;  // anything but kMiss
  };
  static constexpr std::uint32_t kMiss = 0xffffffff;

  RangeMap() = default;
  // Of equal prefixes the last one counts.
  explicit RangeMap(const std::vector<Item>& items);

  // The value of the longest prefix that contains the address, or kMiss. Cost: log2 of twice the number of prefixes.
  [[nodiscard]] std::uint32_t find(Realm realm, const IpAddress& address) const noexcept;
  [[nodiscard]] std::size_t ranges() const noexcept { return starts_.size(); }

 private:
  struct Start {
    Realm realm;
    IpAddress address;
    std::uint32_t value = kMiss;
  };
  std::vector<Start> starts_;  // ascending; a range reaches to the next start
};

}  // namespace isthmus
