// Address hash for tables that use the hash's low bits as the bucket number: two folded 128-bit products, so that every
// address bit affects them. (std::hash<IpAddress> is for containers with a prime number of buckets.) Keyed with a
// secret of the process, because members of the fleet choose their addresses. Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/base/mix.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

namespace detail {
extern const std::array<std::uint64_t, 3> kAddressSecrets;  // odd; drawn before main()
}

[[nodiscard]] inline std::uint64_t address_hash(Realm realm, const IpAddress& address) noexcept {
  const std::array<std::uint64_t, 3>& secrets = detail::kAddressSecrets;
  std::uint64_t w[2];
  std::memcpy(w, address.bytes().data(), sizeof w);
  const std::uint64_t first = folded_product(w[0] ^ secrets[0], w[1] ^ secrets[1]);
  return folded_product(first + realm.value(), secrets[2]);
}

// Of the address's /24 or /64: whom limits by prefix are for.
[[nodiscard]] std::uint64_t prefix_hash(Realm realm, const IpAddress& address) noexcept;

}  // namespace isthmus
