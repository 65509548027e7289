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
