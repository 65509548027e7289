#include "config/model/special_prefixes.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace isthmus {
namespace {

SpecialPrefix special(std::string_view prefix, std::string_view text) { return {Prefix::parse(prefix).value(), text}; }

bool share_addresses(const Prefix& a, const Prefix& b) {
  return a.family() == b.family() && (a.contains(b) || b.contains(a));
}

}  // namespace

// What is inside another one goes before it, as it says more.
std::span<const SpecialPrefix> special_prefixes() {
  static const std::array<SpecialPrefix, 10> list{
      special("0.0.0.0/8", "reserved addresses"),        special("127.0.0.0/8", "loopback addresses"),
      special("169.254.0.0/16", "link-local addresses"), special("224.0.0.0/4", "multicast addresses"),
      special("240.0.0.0/4", "reserved addresses"),      special("::/127", "loopback addresses"),
      special("fe80::/10", "link-local addresses"),      special("ff00::/8", "multicast addresses"),
      special("64:ff9b::/96", "NAT64's addresses"),      special("::/8", "reserved addresses"),
  };
  return list;
}

std::string special_part(const Prefix& prefix) {
  if (prefix.family() == Family::kIpv6 && prefix.contains(IpAddress::ipv4(Be32{}))) {
    return "which includes all IPv4 addresses in their IPv6 form (::ffff:0:0/96)";
  }
  for (const SpecialPrefix& special : special_prefixes()) {
    if (share_addresses(prefix, special.prefix)) {
      return "which " + std::string(special.prefix.contains(prefix) ? "is among the" : "includes") + " " +
             std::string(special.text) + " (" + special.prefix.to_string() + ")";
    }
  }
  return {};
}

bool is_special(const IpAddress& address) { return !special_part(Prefix(address, 128)).empty(); }

std::optional<Error> DistinctAliases::add(const std::string& cluster, const AliasPrefixes& aliases) {
  std::vector<Prefix> fresh;
  for (const AliasPrefix& pair : aliases) {
    if (const std::string special = special_part(pair.alias); !special.empty()) {
      return Error{"the alias " + pair.alias.to_string() + ", " + special + ", cannot be used", "",
                   "write a block that nothing else uses, such as one of 100.64.0.0/10 or fd64::/32"};
    }
    // One that overlaps it begins before it, and is the last to do so, or is the first that does not.
    const auto next = clusters_.lower_bound(pair.alias);
    auto shared = next != clusters_.end() && share_addresses(next->first, pair.alias) ? next : clusters_.end();
    if (next != clusters_.begin() && share_addresses(std::prev(next)->first, pair.alias)) {
      shared = std::prev(next);
    }
    if (shared == clusters_.end()) {
      fresh.push_back(pair.alias);
    } else if (shared->second != cluster) {
      return Error{"the alias " + pair.alias.to_string() + " overlaps " + shared->first.to_string() +
                       ", the alias of cluster " + shared->second,
                   "", "give each cluster an alias of its own, which nothing else uses"};
    }
  }
  for (const Prefix& alias : fresh) {
    clusters_.emplace(alias, cluster);
  }
  return std::nullopt;
}

}  // namespace isthmus
