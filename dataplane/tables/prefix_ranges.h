// The prefixes behind a RangeMap, which follows their changes: what a worker reads costs control the share that
// changed. Owner: Publisher. Thread: control. A prefix has one value; of several that are set, the last counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "dataplane/tables/range_map.h"

namespace isthmus {

class PrefixRanges {
 public:
  explicit PrefixRanges(Realm realm) : realm_(realm), map_(std::make_shared<const RangeMap>(realm)) {}

  void set(const Prefix& prefix, std::uint32_t value);  // any but kMiss
  // Nothing if the prefix has another value.
  void erase(const Prefix& prefix, std::uint32_t value);
  // kMiss: it is none of these prefixes.
  [[nodiscard]] std::uint32_t value_of(const Prefix& prefix) const;
  [[nodiscard]] const std::map<Prefix, std::uint32_t>& all() const noexcept { return values_; }
  // With all changes until now.
  [[nodiscard]] std::shared_ptr<const RangeMap> map();

 private:
  // The value of the longest one that contains it and is shorter; kMiss: none.
  [[nodiscard]] std::uint32_t around(const Prefix& prefix) const;

  // From so many changes on, in proportion to all prefixes, the map is made anew.
  static constexpr std::size_t kAnewFrom = 16;
  Realm realm_;
  std::map<Prefix, std::uint32_t> values_;
  std::array<std::uint32_t, 129> lengths_{};  // how many there are, by length in the 128-bit form
  std::vector<Prefix> touched_;               // since the last map()
  std::shared_ptr<const RangeMap> map_;
};

}  // namespace isthmus
