// What stands between an IP header and L4: IPv4's options, IPv6's extension headers (RFC 8200 section 4). Headers that
// change nothing of where a packet goes, whom it comes from and what its L4 is are forwarded as they are: hop-by-hop
// and destination options, a routing header that has been used up, AH, a fragment header. What names another address
// than the IP header's is refused, since source validation and policy would hold for the wrong ones.
//
// Pure functions of bytes, any thread. Rare: no packet without such headers comes here.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/base/types.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

// Whether this is a header behind which the L4 header is to be looked for. Mobility, HIP and Shim6 headers are not:
// nothing follows them, so they count as L4 protocols.
[[nodiscard]] constexpr bool is_extension_header(std::uint8_t next_header) noexcept {
  constexpr std::uint64_t kOf = 1ULL << 0 | 1ULL << 43 | 1ULL << 44 | 1ULL << 51 | 1ULL << 60;
  return next_header < 64 && (kOf >> next_header & 1) != 0;
}

// The headers of an IPv6 packet up to L4, or to the data of a fragment that is not the first one.
struct HeaderChain {
  IpProtocol protocol{};  // of what lies behind the headers
  std::uint32_t bytes = 0;
  std::uint32_t fragment_at = 0;  // where the fragment header is; 0: there is none
  Fragment fragment = Fragment::kNone;
  bool authenticated = false;  // AH: nothing that it covers may be changed
};

inline constexpr unsigned kMostExtensionHeaders = 8;
inline constexpr std::uint32_t kLongestChain = 512;  // bytes, without the IPv6 header itself

// Reads the chain of the packet at `ip`, of which `readable` bytes are there, an IPv6 header at least. Returns the drop
// reason where it is truncated, out of order, too long, or must not be followed; `into.fragment` is valid then, too.
[[nodiscard]] std::optional<DropReason> read_chain(const std::uint8_t* ip, std::uint32_t readable,
                                                   HeaderChain& into) noexcept;

// Reads the options of the IPv4 header at `ip`, of `header_bytes` bytes, all readable.
[[nodiscard]] std::optional<DropReason> check_ipv4_options(const std::uint8_t* ip, std::uint32_t header_bytes) noexcept;

}  // namespace isthmus
