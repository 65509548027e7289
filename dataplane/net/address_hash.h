// Address hash for tables that use the hash's low bits as the bucket number: two folded 128-bit products, so that every
// address bit affects them. (std::hash<IpAddress> is for containers with a prime number of buckets.) Not keyed, because
// only addresses published by control are stored under it.
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/net/ip_address.h"

namespace isthmus {

[[nodiscard]] inline std::uint64_t address_hash(Realm realm, const IpAddress& address) noexcept {
  __extension__ using Wide = unsigned __int128;
  const auto fold = [](Wide product) noexcept {
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  std::uint64_t w[2];
  std::memcpy(w, address.bytes().data(), sizeof w);
  const std::uint64_t first = fold(static_cast<Wide>(w[0] ^ 0x9e3779b97f4a7c15ULL) * (w[1] ^ 0xc4ceb9fe1a85ec53ULL));
  return fold(static_cast<Wide>(first + realm.value()) * 0xff51afd7ed558ccdULL);
}

}  // namespace isthmus
