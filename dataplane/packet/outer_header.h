// The complete outer header of a tunnel, prebuilt per peer by dataplane/encap and patched per packet: Ethernet
// (addresses zero), outer IP, UDP, tunnel header, inner Ethernet. Plain value; part of a snapshot.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/api/encapsulation.h"
#include "dataplane/base/types.h"

namespace isthmus {

struct alignas(64) OuterHeader {
  static constexpr std::uint32_t kCapacity = 96;  // bytes: IPv6 needs 84; a multiple of what is copied at a time

  std::array<std::uint8_t, kCapacity> bytes{};
  std::uint32_t size = 0;      // bytes in use; 0: no header was built
  std::uint32_t overhead = 0;  // bytes by which the underlay IP packet is longer than the inner one
  // Unfolded one's complement sum of what the checksum to patch covers, with the patched fields zero: of the IPv4
  // header, or of the UDP pseudo-header and the headers behind it over IPv6.
  std::uint32_t sum = 0;
  Family underlay = Family::kIpv4;
  EncapsulationKind kind = EncapsulationKind::kNone;
};
static_assert(sizeof(OuterHeader) == 128);

}  // namespace isthmus
