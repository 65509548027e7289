// What the kinds of tunnel headers have in common: eight bytes behind UDP whose last four are the VNI and a reserved
// byte, then options, then an Ethernet frame. Plain values. Words are as on the wire.
#pragma once

#include <bit>
#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus::encap {

inline constexpr std::uint32_t kTunnelHeaderBytes = 8;  // without options

// The result of parsing: whose packet it is and where, in bytes from the tunnel header, its inner Ethernet header is.
struct Tunnelled {
  Vni vni;
  std::uint32_t inner = kTunnelHeaderBytes;
  std::uint32_t service = 0;  // where the body of the DSR option is; 0: there is none
};

// The eight bytes of a header that needs no further look, as loaded from the wire: equal to `value` under `mask`. All
// other headers go through the kind's parse_other().
struct PlainHeader {
  std::uint64_t mask = 0, value = 0;
};

// The header's eight bytes as loaded from the wire, from its two big-endian words.
[[nodiscard]] constexpr std::uint64_t wire_word(std::uint32_t first, std::uint32_t second) noexcept {
  static_assert(std::endian::native == std::endian::little);
  return Be32::of(first).wire() | std::uint64_t{Be32::of(second).wire()} << 32;
}

// The VNI of a header loaded in one word.
[[nodiscard]] constexpr Vni vni_of(std::uint64_t header) noexcept {
  return Vni{Be32::raw(static_cast<std::uint32_t>(header >> 32)).host() >> 8};
}

}  // namespace isthmus::encap
