#include "dataplane/net/address_hash.h"

#include <random>

namespace isthmus::detail {
namespace {

std::array<std::uint64_t, 3> draw() {
  std::random_device device;
  std::array<std::uint64_t, 3> secrets{};
  for (std::uint64_t& secret : secrets) {
    secret = (std::uint64_t{device()} << 32 | device()) | 1;
  }
  return secrets;
}

}  // namespace

const std::array<std::uint64_t, 3> kAddressSecrets = draw();

}  // namespace isthmus::detail
