#include "dataplane/packet/header_chain.h"

#include "dataplane/net/headers.h"

namespace isthmus {
namespace {

// Types of IPv6 options that are not forwarded: a jumbo payload, longer than any frame; a home address, by which the
// receiver would take the packet as another's (RFC 6275 section 6.3).
constexpr std::uint8_t kPad1 = 0, kJumboPayload = 0xc2, kHomeAddress = 0xc9;

constexpr std::uint32_t kUnit = 8;  // of an extension header's length, the first unit not counted

// The options in `bytes` bytes at `at`.
std::optional<DropReason> check_ipv6_options(const std::uint8_t* at, std::uint32_t bytes) noexcept {
  while (bytes != 0) {
    if (at[0] == kPad1) {
      ++at;
      --bytes;
      continue;
    }
    if (bytes < 2 || std::uint32_t{at[1]} + 2 > bytes) {
      return DropReason::kMalformed;
    }
    if (at[0] == kHomeAddress) {
      return DropReason::kSourceRoute;
    }
    if (at[0] == kJumboPayload) {
      return DropReason::kExtensionHeaders;
    }
    const std::uint32_t option = std::uint32_t{at[1]} + 2;
    at += option;
    bytes -= option;
  }
  return std::nullopt;
}

// One header of `type` at `at`, of which `readable` bytes are there: sets its length.
std::optional<DropReason> read_header(IpProtocol type, const std::uint8_t* at, std::uint32_t readable,
                                      std::uint32_t& length, HeaderChain& into) noexcept {
  if (readable < kUnit) {
    return DropReason::kMalformed;
  }
  switch (type) {
    case IpProtocol::kIpv6Fragment: {
      const std::uint32_t part = net::at<net::Ipv6Fragment>(at)->fragment.host();
      length = kUnit;
      into.fragment = (part & net::Ipv6Fragment::kOffset) != 0          ? Fragment::kLater
                      : (part & net::Ipv6Fragment::kMoreFragments) != 0 ? Fragment::kFirst
                                                                        : Fragment::kNone;
      return std::nullopt;
    }
    case IpProtocol::kAuthentication: {  // RFC 4302 section 2.2: in units of four bytes, the first two not counted
      constexpr std::uint32_t kFixed = 12;
      length = (std::uint32_t{at[1]} + 2) * 4;
      into.authenticated = true;
      return length < kFixed || length > readable ? std::optional(DropReason::kMalformed) : std::nullopt;
    }
    default:
      break;
  }
  length = (std::uint32_t{at[1]} + 1) * kUnit;
  if (length > readable) {
    return DropReason::kMalformed;
  }
  if (type == IpProtocol::kRouting) {
    constexpr unsigned kSegmentsLeft = 3;
    return at[kSegmentsLeft] != 0 ? std::optional(DropReason::kSourceRoute) : std::nullopt;
  }
  return check_ipv6_options(at + 2, length - 2);
}

}  // namespace

std::optional<DropReason> read_chain(const std::uint8_t* ip, std::uint32_t readable, HeaderChain& into) noexcept {
  into = {static_cast<IpProtocol>(net::at<net::Ipv6>(ip)->next_header), sizeof(net::Ipv6)};
  for (unsigned count = 0; is_extension_header(static_cast<std::uint8_t>(into.protocol)); ++count) {
    const IpProtocol type = into.protocol;
    const bool again = type == IpProtocol::kIpv6Fragment && into.fragment_at != 0;
    if (count == kMostExtensionHeaders || again || (type == IpProtocol::kHopByHop && count != 0)) {
      return DropReason::kExtensionHeaders;
    }
    const std::uint8_t* at = ip + into.bytes;
    std::uint32_t length = 0;
    if (const auto drop = read_header(type, at, readable - into.bytes, length, into)) {
      return drop;
    }
    into.fragment_at = type == IpProtocol::kIpv6Fragment ? into.bytes : into.fragment_at;
    into.protocol = static_cast<IpProtocol>(at[0]);
    into.bytes += length;
    if (into.bytes - sizeof(net::Ipv6) > kLongestChain) {
      return DropReason::kExtensionHeaders;
    }
    if (into.fragment == Fragment::kLater) {
      break;
    }
  }
  return std::nullopt;
}

std::optional<DropReason> check_ipv4_options(const std::uint8_t* ip, std::uint32_t header_bytes) noexcept {
  constexpr std::uint8_t kEnd = 0, kNoOperation = 1, kLooseSourceRoute = 131, kStrictSourceRoute = 137;
  std::uint32_t at = sizeof(net::Ipv4);
  while (at < header_bytes && ip[at] != kEnd) {
    if (ip[at] == kNoOperation) {
      ++at;
      continue;
    }
    if (header_bytes - at < 2 || ip[at + 1] < 2 || ip[at + 1] > header_bytes - at) {
      return DropReason::kMalformed;
    }
    if (ip[at] == kLooseSourceRoute || ip[at] == kStrictSourceRoute) {
      return DropReason::kSourceRoute;
    }
    at += ip[at + 1];
  }
  return std::nullopt;
}

}  // namespace isthmus
