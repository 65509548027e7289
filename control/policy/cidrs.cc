#include "control/policy/cidrs.h"

#include <algorithm>

#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kScope = identity::kPrefixScope << identity::kScopeShift;

}  // namespace

bool CidrBlock::contains(const Prefix& other) const {
  return prefix.family() == other.family() && prefix.contains(other) &&
         std::none_of(except.begin(), except.end(), [&](const Prefix& hole) { return hole.contains(other); });
}

CidrTable::Acquired CidrTable::acquire(const Prefix& prefix) {
  const auto [it, created] = prefixes_.try_emplace(prefix);
  if (created) {
    it->second.identity = Identity{kScope + numbers_.allocate().value()};
  }
  ++it->second.references;
  return {it->second.identity, created};
}

std::optional<Identity> CidrTable::release(const Prefix& prefix) {
  const auto it = prefixes_.find(prefix);
  if (it == prefixes_.end() || --it->second.references != 0) {
    return std::nullopt;
  }
  const Identity identity = it->second.identity;
  numbers_.release(Identity{identity.value() - kScope});
  prefixes_.erase(it);
  return identity;
}

std::vector<CidrIdentity> CidrTable::list() const {
  std::vector<CidrIdentity> out;
  out.reserve(prefixes_.size());
  for (const auto& [prefix, entry] : prefixes_) {
    out.push_back({prefix, entry.identity});
  }
  // In the 128-bit form ::/0 would match IPv4 addresses too: add 0.0.0.0/0 as the longer match.
  const Prefix ipv4(IpAddress::ipv4(Be32{}), 0);
  const bool covers_ipv4 = std::any_of(out.begin(), out.end(), [&](const CidrIdentity& each) {
    return each.prefix.family() == Family::kIpv6 && each.prefix.contains(ipv4);
  });
  if (covers_ipv4 && !prefixes_.contains(ipv4)) {
    out.push_back({ipv4, identity::kWorld});
  }
  return out;
}

std::optional<Identity> CidrTable::find(const IpAddress& address) const {
  for (int length = address.is_ipv4() ? 32 : 128; length >= 0; --length) {
    if (const auto it = prefixes_.find(Prefix(address, static_cast<std::uint8_t>(length))); it != prefixes_.end()) {
      return it->second.identity;
    }
  }
  return std::nullopt;
}

}  // namespace isthmus
