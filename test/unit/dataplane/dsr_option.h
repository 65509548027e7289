// Cilium's DSR option. Independent of the code under test.
#pragma once

#include "test/support/packet.h"

namespace isthmus::test {

// As Cilium sends and expects it: class 0x014b, type 0x81, length in words, address, port, two bytes of padding.
[[nodiscard]] inline FrameBytes dsr_option(const Endpoint& service) {
  const bool v4 = service.address.is_ipv4();
  FrameBytes bytes{0x01, 0x4b, 0x81, static_cast<std::uint8_t>(v4 ? 2 : 5)};
  const auto& address = service.address.bytes();
  bytes.insert(bytes.end(), v4 ? address.end() - 4 : address.begin(), address.end());
  bytes.insert(bytes.end(),
               {static_cast<std::uint8_t>(service.port >> 8), static_cast<std::uint8_t>(service.port), 0, 0});
  return bytes;
}

}  // namespace isthmus::test
