// Internet checksums (RFC 1071) and incremental updates (RFC 1624). Words are used as loaded from the wire, without
// byte swapping; one's complement sums do not depend on byte order. Pure functions, hot path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus::net {

[[nodiscard]] inline std::uint16_t fold(std::uint64_t sum) noexcept {
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffu) + (sum >> 16);
  sum = (sum & 0xffffu) + (sum >> 16);
  sum = (sum & 0xffffu) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

// Unfolded sum of `bytes` bytes; an odd last byte is padded with zero.
[[nodiscard]] inline std::uint64_t partial_sum(const std::uint8_t* data, std::size_t bytes,
                                               std::uint64_t sum = 0) noexcept {
  for (; bytes >= 4; data += 4, bytes -= 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, data, 4);
    sum += word;
  }
  if (bytes >= 2) {
    std::uint16_t word = 0;
    std::memcpy(&word, data, 2);
    sum += word;
    data += 2;
    bytes -= 2;
  }
  if (bytes == 1) {
    std::uint16_t word = 0;
    std::memcpy(&word, data, 1);
    sum += word;
  }
  return sum;
}

// The checksum of data whose checksum field is zero.
[[nodiscard]] inline std::uint16_t checksum(const std::uint8_t* data, std::size_t bytes,
                                            std::uint64_t sum = 0) noexcept {
  return static_cast<std::uint16_t>(~fold(partial_sum(data, bytes, sum)));
}

// Sum of the pseudo-header of TCP, UDP and ICMPv6, both families; `l4_bytes` is header plus payload.
[[nodiscard]] inline std::uint64_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                                                     IpProtocol protocol, std::uint32_t l4_bytes) noexcept {
  // For IPv4, the mapped prefix adds 0xffff per address, which is zero in one's complement.
  std::uint64_t sum = partial_sum(source.bytes().data(), 16);
  sum = partial_sum(destination.bytes().data(), 16, sum);
  sum += Be32::of(l4_bytes).wire();
  sum += Be16::of(static_cast<std::uint16_t>(protocol)).wire();
  return sum;
}

// The checksum difference of replacing `before` by `after` (equal, even lengths). Differences can be added.
[[nodiscard]] inline std::uint16_t difference(const std::uint8_t* before, const std::uint8_t* after,
                                              std::size_t bytes) noexcept {
  std::uint64_t sum = partial_sum(after, bytes);
  for (std::size_t i = 0; i + 1 < bytes; i += 2) {
    std::uint16_t word = 0;
    std::memcpy(&word, before + i, 2);
    sum += static_cast<std::uint16_t>(~word);
  }
  return fold(sum);
}

// Applies a difference to a checksum field (RFC 1624, equation 3).
[[nodiscard]] inline Be16 apply_difference(Be16 field, std::uint16_t delta) noexcept {
  std::uint32_t sum = static_cast<std::uint32_t>(static_cast<std::uint16_t>(~field.wire())) + delta;
  sum += sum >> 16;  // at most one carry
  return Be16::raw(static_cast<std::uint16_t>(~sum));
}

}  // namespace isthmus::net
