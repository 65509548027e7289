#include "dataplane/tables/prefix_ranges.h"

namespace isthmus {
namespace {

// The prefix of this length, in the 128-bit form, around the address: an IPv4 address lies in IPv6 prefixes too.
Prefix around_at(const IpAddress& address, unsigned length128) {
  constexpr unsigned kMappedBits = 96;
  if (address.is_ipv4() && length128 >= kMappedBits) {
    return {address, static_cast<std::uint8_t>(length128 - kMappedBits)};
  }
  IpAddress::ByteArray bytes = address.bytes();
  for (unsigned bit = length128; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] & ~(0x80U >> bit % 8));
  }
  return {IpAddress(bytes), static_cast<std::uint8_t>(length128)};
}

}  // namespace

void PrefixRanges::set(const Prefix& prefix, std::uint32_t value) {
  const auto [at, added] = values_.try_emplace(prefix, value);
  if (added) {
    ++lengths_[prefix.length128()];
  } else if (at->second == value) {
    return;
  }
  at->second = value;
  touched_.push_back(prefix);
}

void PrefixRanges::erase(const Prefix& prefix, std::uint32_t value) {
  const auto at = values_.find(prefix);
  if (at == values_.end() || at->second != value) {
    return;
  }
  values_.erase(at);
  --lengths_[prefix.length128()];
  touched_.push_back(prefix);
}

std::uint32_t PrefixRanges::value_of(const Prefix& prefix) const {
  const auto at = values_.find(prefix);
  return at == values_.end() ? RangeMap::kMiss : at->second;
}

std::uint32_t PrefixRanges::around(const Prefix& prefix) const {
  for (unsigned length = prefix.length128(); length-- > 0;) {
    if (lengths_[length] != 0) {
      if (const auto at = values_.find(around_at(prefix.address(), length)); at != values_.end()) {
        return at->second;
      }
    }
  }
  return RangeMap::kMiss;
}

std::shared_ptr<const RangeMap> PrefixRanges::map() {
  if (touched_.empty()) {
    return map_;
  }
  std::vector<RangeMap::Item> items;
  if (touched_.size() * kAnewFrom > values_.size()) {
    items.reserve(values_.size());
    for (const auto& [prefix, value] : values_) {
      items.push_back({realm_, prefix, value});
    }
    map_ = items.empty() ? std::make_shared<const RangeMap>(realm_) : std::make_shared<const RangeMap>(items);
  } else {
    auto next = std::make_shared<RangeMap>(*map_);
    for (const Prefix& prefix : touched_) {
      items.clear();
      for (auto at = values_.lower_bound(prefix); at != values_.end() && prefix.contains(at->first); ++at) {
        items.push_back({realm_, at->first, at->second});
      }
      next->assign(realm_, prefix, around(prefix), items);
    }
    map_ = std::move(next);
  }
  touched_.clear();
  return map_;
}

}  // namespace isthmus
