#include "dataplane/tables/range_map.h"

#include <algorithm>
#include <optional>
#include <tuple>

namespace isthmus {
namespace {

// The address after `a`; nullopt for the last address.
std::optional<IpAddress> next(const IpAddress& a) {
  IpAddress::ByteArray b = a.bytes();
  for (std::size_t i = b.size(); i-- > 0;) {
    if (++b[i] != 0) {
      return IpAddress(b);
    }
  }
  return std::nullopt;
}

}  // namespace

RangeMap::RangeMap(const std::vector<Item>& items) {
  std::vector<Item> sorted = items;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Item& a, const Item& b) {
    return std::tuple(a.realm, a.prefix.address(), a.prefix.length128()) <
           std::tuple(b.realm, b.prefix.address(), b.prefix.length128());
  });
  // Prefixes nest or are disjoint: walk them in order with a stack of the enclosing prefixes.
  std::vector<Item> open;
  const auto add = [this](Realm realm, const IpAddress& address, std::uint32_t value) {
    if (!starts_.empty() && starts_.back().realm == realm && starts_.back().address == address) {
      starts_.back().value = value;
    } else {
      starts_.push_back({realm, address, value});
    }
  };
  const auto close_until = [&](const Item* item) {
    while (!open.empty() &&
           (item == nullptr || item->realm != open.back().realm || !open.back().prefix.contains(item->prefix))) {
      const Item closed = open.back();
      open.pop_back();
      if (const auto after = next(closed.prefix.last())) {
        add(closed.realm, *after, open.empty() || open.back().realm != closed.realm ? kMiss : open.back().value);
      }
    }
  };
  for (const Item& item : sorted) {
    close_until(&item);
    add(item.realm, item.prefix.address(), item.value);
    open.push_back(item);
  }
  close_until(nullptr);
  ipv4_realm_ = starts_.empty() ? Realm{0} : starts_.front().realm;
  ipv4_starts_.front().value = find_any(ipv4_realm_, IpAddress::ipv4(Be32{}));
  for (const Start& start : starts_) {
    if (start.realm == ipv4_realm_ && start.address.is_ipv4()) {
      ipv4_starts_.push_back({start.address.as_ipv4().host(), start.value});
    }
  }
}

std::uint32_t RangeMap::find_any(Realm realm, const IpAddress& address) const noexcept {
  std::size_t low = 0;
  std::size_t high = starts_.size();
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    const Start& s = starts_[middle];
    if (s.realm < realm || (s.realm == realm && s.address <= address)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 || starts_[low - 1].realm != realm ? kMiss : starts_[low - 1].value;
}

}  // namespace isthmus
