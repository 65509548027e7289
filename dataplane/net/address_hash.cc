#include "dataplane/net/address_hash.h"

namespace isthmus::detail {
namespace {

std::array<std::uint64_t, 3> draw() {
  std::array<std::uint64_t, 3> secrets{};
  for (std::uint64_t& secret : secrets) {
    secret = random_word() | 1;
  }
  return secrets;
}

}  // namespace

const std::array<std::uint64_t, 3> kAddressSecrets = draw();

}  // namespace isthmus::detail

namespace isthmus {

std::uint64_t prefix_hash(Realm realm, const IpAddress& address) noexcept {
  constexpr std::size_t kPrefixIpv4 = 12 + 3, kPrefixIpv6 = 8;
  std::uint8_t prefix[16] = {};
  std::memcpy(prefix, address.bytes().data(), address.is_ipv4() ? kPrefixIpv4 : kPrefixIpv6);
  return address_hash(realm, IpAddress::ipv6(prefix));
}

}  // namespace isthmus
