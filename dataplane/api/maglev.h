// Maglev consistent hashing, bit-exact with Cilium's: gateways and Cilium nodes choose the same backend for a packet.
// Pure functions, any thread. maglev_packet_hash() is for the hot path; maglev_ring() allocates and is for control.
// After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

// Ring sizes, primes: kMaglevSlots for services (Cilium's default), kMaglevPeerSlots for the few gateways of a cluster.
inline constexpr std::uint32_t kMaglevSlots = 16381;
inline constexpr std::uint32_t kMaglevPeerSlots = 251;
inline constexpr std::uint16_t kMaglevDefaultWeight = 100;

// The three seeds of "JLfvgnHc2kaSUFaI" (base64, 12 bytes, big-endian words). The same in every gateway and node.
inline constexpr std::uint32_t kMaglevRingSeed = 0x24b7ef82;
inline constexpr std::uint32_t kMaglevIpv4Seed = 0x71dcda46;
inline constexpr std::uint32_t kMaglevIpv6Seed = 0x92505688;

struct MaglevBackend {
  IpAddress address;
  L4Port port;
  IpProtocol protocol = IpProtocol::kTcp;
  std::uint16_t weight = kMaglevDefaultWeight;  // 0: not in the ring
};

using MaglevRing = HugePageVector<std::uint16_t>;

// One index into `backends` per slot. Empty when no backend has a non-zero weight. `slots` is a prime. At most 65,535
// backends are used, the rest is ignored. The choice does not depend on the order of `backends`; only the indexes do.
[[nodiscard]] MaglevRing maglev_ring(std::span<const MaglevBackend> backends, std::uint32_t slots = kMaglevSlots);

// Bob Jenkins' lookup3 as implemented in Linux (jhash).
struct Jhash {
  std::uint32_t a, b, c;

  constexpr void mix() noexcept {
    a -= c, a ^= std::rotl(c, 4), c += b;
    b -= a, b ^= std::rotl(a, 6), a += c;
    c -= b, c ^= std::rotl(b, 8), b += a;
    a -= c, a ^= std::rotl(c, 16), c += b;
    b -= a, b ^= std::rotl(a, 19), a += c;
    c -= b, c ^= std::rotl(b, 4), b += a;
  }
  constexpr std::uint32_t final() noexcept {
    c ^= b, c -= std::rotl(b, 14);
    a ^= c, a -= std::rotl(c, 11);
    b ^= a, b -= std::rotl(a, 25);
    c ^= b, c -= std::rotl(b, 16);
    a ^= c, a -= std::rotl(c, 4);
    b ^= a, b -= std::rotl(a, 14);
    c ^= b, c -= std::rotl(b, 24);
    return c;
  }
};

[[nodiscard]] constexpr std::uint32_t jhash_3words(std::uint32_t a, std::uint32_t b, std::uint32_t c,
                                                   std::uint32_t seed) noexcept {
  const std::uint32_t start = seed + 0xdeadbeef + 12;
  return Jhash{a + start, b + start, c + start}.final();
}

// Hash of a packet; its slot is the hash modulo the ring's size. The destination address is not hashed, so that several
// VIPs with the same backends choose the same one. For a service with client affinity pass 0 as `source_port`. `family`
// is the packet's. Addresses and ports are hashed as raw wire bytes, loaded natively.
[[nodiscard]] inline std::uint32_t maglev_packet_hash(Family family, const IpAddress& source, Be16 source_port,
                                                      Be16 service_port, IpProtocol protocol) noexcept {
  const std::uint32_t ports = (std::uint32_t{service_port.wire()} << 16) + source_port.wire();
  const auto proto = static_cast<std::uint32_t>(protocol);
  if (family == Family::kIpv4) {
    return jhash_3words(source.as_ipv4().wire(), ports, proto, kMaglevIpv4Seed);
  }
  std::uint32_t words[4];
  std::memcpy(words, source.bytes().data(), sizeof words);
  Jhash h{words[0], words[1], words[2]};
  h.mix();
  h.a += words[3];
  h.b += ports;
  h.c += proto;
  h.mix();
  h.a += kMaglevIpv6Seed;
  return h.final();
}

}  // namespace isthmus
