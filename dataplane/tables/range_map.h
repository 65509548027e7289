// RangeMap: longest-prefix match over (realm, 128-bit address) by binary search in disjoint ranges.
//
// Part of a snapshot; read by workers at admission. The ranges are in pieces of a few hundred, which a copy shares with
// what it was copied from: a change makes the pieces anew that it touches. Only control changes one, and only before it
// is published. See PrefixRanges (prefix_ranges.h), which keeps the prefixes behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"
#include "dataplane/tables/range_starts.h"

namespace isthmus {

class RangeMap {
 public:
  struct Item {
    Realm realm;
    Prefix prefix;
    std::uint32_t value = 0;  // any value except kMiss
  };
  static constexpr std::uint32_t kMiss = 0xffffffff;

  explicit RangeMap(Realm ipv4_realm = {});  // whose IPv4 addresses are found fastest
  // Of equal prefixes the last one wins.
  explicit RangeMap(const std::vector<Item>& items);

  // All that lies in `prefix` has these values now: those of `inside`, which are prefixes within it or itself, and of
  // the rest `around`, perhaps kMiss. Costs what lies in it.
  void assign(Realm realm, const Prefix& prefix, std::uint32_t around, const std::vector<Item>& inside);

  // The value of the longest prefix that contains the address, or kMiss. O(log n) in the number of prefixes.
  [[nodiscard]] std::uint32_t find(Realm realm, const IpAddress& address) const noexcept {
    if (realm != ipv4_realm_ || !address.is_ipv4()) [[unlikely]] {
      return find_any(realm, address);
    }
    return ipv4_starts_.find(address.as_ipv4().host()).value;
  }
  [[nodiscard]] std::size_t ranges() const noexcept { return starts_.size(); }

 private:
  struct Place {
    Realm realm;
    IpAddress address;
    friend auto operator<=>(const Place&, const Place&) noexcept = default;
  };
  using Starts = RangeStarts<Place>;
  using Ipv4Starts = RangeStarts<std::uint32_t>;  // host byte order

  void follow_ipv4(const std::vector<Starts::Start>& starts, const IpAddress& first, const IpAddress& last);
  [[nodiscard]] std::uint32_t find_any(Realm realm, const IpAddress& address) const noexcept;

  Starts starts_;  // a range extends to the next start, or the end of the realm
  // The IPv4 ranges of one realm again, in few cache lines.
  Realm ipv4_realm_;
  Ipv4Starts ipv4_starts_;
};

}  // namespace isthmus
