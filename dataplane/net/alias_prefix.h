// Alias prefixes (NETMAP): the prefixes of a cluster's pods and what they are called outside the cluster, one to one.
// Plain functions. Threads: any.
#pragma once

#include <compare>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

// Two prefixes of one length and family.
struct AliasPrefix {
  Prefix own, alias;
  friend auto operator<=>(const AliasPrefix&, const AliasPrefix&) noexcept = default;
};
using AliasPrefixes = std::vector<AliasPrefix>;

// The n-th alias of a family stands for the n-th block of pods of that family, and is as large. A block that is its own
// alias is left out. `key` is where the blocks of pods are written. Error: `what` and `fix`, without a place.
[[nodiscard]] Result<AliasPrefixes> pair_aliases(std::span<const Prefix> pods, std::span<const Prefix> aliases,
                                                 const std::string& key);

// The address in `to` at the place that `address` has in a prefix of the same length.
[[nodiscard]] inline IpAddress moved_to(const Prefix& to, const IpAddress& address) noexcept {
  IpAddress::ByteArray bytes = address.bytes();
  const IpAddress::ByteArray& head = to.address().bytes();
  const unsigned whole = to.length128() / 8U, bits = to.length128() % 8U;
  for (unsigned at = 0; at < whole; ++at) {
    bytes[at] = head[at];
  }
  if (bits != 0) {
    const auto mask = static_cast<std::uint8_t>(0xffU << (8U - bits));
    bytes[whole] = static_cast<std::uint8_t>((head[whole] & mask) | (bytes[whole] & ~mask));
  }
  return IpAddress(bytes);
}

// The alias of an address in one of the own prefixes; any other as it is.
[[nodiscard]] inline IpAddress to_alias(std::span<const AliasPrefix> prefixes, const IpAddress& address) noexcept {
  for (const AliasPrefix& each : prefixes) {
    if (each.own.contains(address)) {
      return moved_to(each.alias, address);
    }
  }
  return address;
}
// The address that an alias stands for; any other as it is.
[[nodiscard]] inline IpAddress to_own(std::span<const AliasPrefix> prefixes, const IpAddress& address) noexcept {
  for (const AliasPrefix& each : prefixes) {
    if (each.alias.contains(address)) {
      return moved_to(each.own, address);
    }
  }
  return address;
}
// The same of a whole prefix that lies in one of them.
[[nodiscard]] inline Prefix to_alias(std::span<const AliasPrefix> prefixes, const Prefix& prefix) noexcept {
  for (const AliasPrefix& each : prefixes) {
    if (each.own.contains(prefix)) {
      return {moved_to(each.alias, prefix.address()), prefix.length()};
    }
  }
  return prefix;
}
[[nodiscard]] inline Prefix to_own(std::span<const AliasPrefix> prefixes, const Prefix& prefix) noexcept {
  for (const AliasPrefix& each : prefixes) {
    if (each.alias.contains(prefix)) {
      return {moved_to(each.own, prefix.address()), prefix.length()};
    }
  }
  return prefix;
}

}  // namespace isthmus
