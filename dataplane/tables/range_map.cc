#include "dataplane/tables/range_map.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace isthmus {
namespace {

const IpAddress kLowestIpv4 = IpAddress::ipv4(Be32{}), kHighestIpv4 = IpAddress::ipv4(Be32::of(0xffffffff));

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

// The address before `a`; nullopt for the first address.
std::optional<IpAddress> before(const IpAddress& a) {
  IpAddress::ByteArray b = a.bytes();
  for (std::size_t i = b.size(); i-- > 0;) {
    if (b[i]-- != 0) {
      return IpAddress(b);
    }
  }
  return std::nullopt;
}

std::vector<RangeMap::Item> sorted(std::vector<RangeMap::Item> items) {
  std::stable_sort(items.begin(), items.end(), [](const RangeMap::Item& a, const RangeMap::Item& b) {
    return std::tuple(a.realm, a.prefix.address(), a.prefix.length128()) <
           std::tuple(b.realm, b.prefix.address(), b.prefix.length128());
  });
  return items;
}

// Calls add(realm, address, value) where another range begins, in order; the last call for an address counts. Prefixes
// nest or are disjoint: walks them with a stack of the enclosing ones.
template <typename Add>
void walk(const std::vector<RangeMap::Item>& items, std::uint32_t around, Add&& add) {
  std::vector<RangeMap::Item> open;
  const auto close_until = [&](const RangeMap::Item* item) {
    while (!open.empty() &&
           (item == nullptr || item->realm != open.back().realm || !open.back().prefix.contains(item->prefix))) {
      const RangeMap::Item closed = open.back();
      open.pop_back();
      if (const auto after = next(closed.prefix.last())) {
        add(closed.realm, *after, open.empty() || open.back().realm != closed.realm ? around : open.back().value);
      }
    }
  };
  for (const RangeMap::Item& item : items) {
    close_until(&item);
    add(item.realm, item.prefix.address(), item.value);
    open.push_back(item);
  }
  close_until(nullptr);
}

// Leaves out the starts that go on with the value before them; `before`: the value before the first. The lowest key of
// all stays.
template <typename Start>
void drop_repeated(std::vector<Start>& starts, std::uint32_t before) {
  std::erase_if(starts, [&, lowest = decltype(Start::at){}](const Start& start) {
    return std::exchange(before, start.value) == start.value && start.at != lowest;
  });
}

// Of a list in order, in which a later start of the same place counts.
template <typename Start>
void append(std::vector<Start>& starts, const Start& start) {
  if (!starts.empty() && starts.back().at == start.at) {
    starts.back().value = start.value;
  } else {
    starts.push_back(start);
  }
}

}  // namespace

RangeMap::RangeMap(Realm ipv4_realm) : starts_(kMiss), ipv4_realm_(ipv4_realm), ipv4_starts_(kMiss) {}

RangeMap::RangeMap(const std::vector<Item>& items) : RangeMap(items.empty() ? Realm{} : sorted(items).front().realm) {
  std::vector<Starts::Start> starts{{Place{}, kMiss}};
  walk(sorted(items), kMiss, [&](Realm realm, const IpAddress& address, std::uint32_t value) {
    append(starts, {{realm, address}, value});
  });
  drop_repeated(starts, kMiss);
  starts_.replace(Place{}, starts.back().at, starts);
  follow_ipv4(starts, kLowestIpv4, kHighestIpv4);
}

void RangeMap::assign(Realm realm, const Prefix& prefix, std::uint32_t around, const std::vector<Item>& inside) {
  const IpAddress first = prefix.address(), last = prefix.last();
  const std::optional<IpAddress> after = next(last);
  std::vector<Starts::Start> starts{{{realm, first}, around}};
  walk(sorted(inside), around, [&](Realm, const IpAddress& address, std::uint32_t value) {
    if (address <= last) {
      append(starts, {{realm, address}, value});
    }
  });
  if (after) {
    starts.push_back({{realm, *after}, find_any(realm, *after)});
  }
  const std::optional<IpAddress> previous = before(first);
  drop_repeated(starts, previous ? find_any(realm, *previous) : kMiss);
  starts_.replace({realm, first}, {realm, after.value_or(last)}, starts);
  if (realm == ipv4_realm_ && first <= kHighestIpv4 && last >= kLowestIpv4) {
    follow_ipv4(starts, std::max(first, kLowestIpv4), std::min(after.value_or(last), kHighestIpv4));
  }
}

// `starts` of all ranges are those from `first` to `last`, as far as these are IPv4 addresses.
void RangeMap::follow_ipv4(const std::vector<Starts::Start>& starts, const IpAddress& first, const IpAddress& last) {
  std::vector<Ipv4Starts::Start> ipv4;
  if (first == kLowestIpv4) {
    ipv4.push_back({0, find_any(ipv4_realm_, kLowestIpv4)});
  }
  for (const Starts::Start& start : starts) {
    if (start.at.realm == ipv4_realm_ && start.at.address.is_ipv4()) {
      append(ipv4, {start.at.address.as_ipv4().host(), start.value});
    }
  }
  ipv4_starts_.replace(first.as_ipv4().host(), last.as_ipv4().host(), ipv4);
}

std::uint32_t RangeMap::find_any(Realm realm, const IpAddress& address) const noexcept {
  const Starts::Start& start = starts_.find({realm, address});
  return start.at.realm == realm ? start.value : kMiss;
}

}  // namespace isthmus
