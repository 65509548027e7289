// SCTP's checksum, CRC32c (RFC 9260 section 6.8, appendix A), where the ports change: computed from their difference,
// so that a packet that was corrupt stays so. It covers nothing but the SCTP packet: no addresses. CRC is linear, so
// the difference is the CRC of the difference's bits, followed by as many zero bytes as the packet has: the length of
// the rest matters, its bytes do not, and an ICMP error need not quote them. Pure functions.
#pragma once

#include <array>
#include <cstdint>

namespace isthmus::net {

namespace crc32c {

// What a number of zero bytes does to each bit of the register.
using Zeros = std::array<std::uint32_t, 32>;

[[nodiscard]] constexpr std::uint32_t through(const Zeros& zeros, std::uint32_t bits) noexcept {
  std::uint32_t sum = 0;
  for (unsigned bit = 0; bits != 0; ++bit, bits >>= 1) {
    sum ^= (bits & 1) != 0 ? zeros[bit] : 0;
  }
  return sum;
}

// Of 1, 2, 4, ... zero bytes.
[[nodiscard]] constexpr std::array<Zeros, 16> powers() noexcept {
  constexpr std::uint32_t kPolynomial = 0x82f63b78;  // reflected
  std::array<Zeros, 16> all{};
  for (unsigned bit = 0; bit < 32; ++bit) {
    std::uint32_t value = std::uint32_t{1} << bit;
    for (unsigned shift = 0; shift < 8; ++shift) {
      value = value >> 1 ^ ((value & 1) != 0 ? kPolynomial : 0);
    }
    all[0][bit] = value;
  }
  for (unsigned power = 1; power < all.size(); ++power) {
    for (unsigned bit = 0; bit < 32; ++bit) {
      all[power][bit] = through(all[power - 1], all[power - 1][bit]);
    }
  }
  return all;
}

}  // namespace crc32c

// The difference (XOR) of the checksum of a packet of `bytes` bytes, at most 65,535, whose first word differs by
// `difference`. Both words as loaded from the wire by a little-endian machine.
[[nodiscard]] constexpr std::uint32_t sctp_checksum_difference(std::uint32_t difference, std::uint32_t bytes) noexcept {
  constexpr std::array<crc32c::Zeros, 16> kPowers = crc32c::powers();
  for (unsigned power = 0; power < kPowers.size(); ++power) {
    if ((bytes >> power & 1) != 0) {
      difference = crc32c::through(kPowers[power], difference);
    }
  }
  return difference;
}

}  // namespace isthmus::net
