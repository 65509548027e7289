// FlowKey: identifies one direction of a connection, as its packets look on arrival (inner addresses).
// Plain value, any thread. Ports are in network byte order, as in the packet.
//
// ICMP echo has no ports: the identifier is the source port of a request and the destination port of a reply, the other
// port is 0. So reversed() of a request's key is the key of its reply.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct alignas(8) FlowKey {
  IpAddress source;
  IpAddress destination;
  Be16 source_port;
  Be16 destination_port;
  IpProtocol protocol = IpProtocol::kTcp;
  std::uint8_t zero = 0;  // padding, part of comparison and hash
  Realm realm;

  // Writes the key of an IPv4 packet. `addresses` points to 12 bytes as they lie in a packet without IP options: source
  // address, destination address, source port, destination port.
  static void write_ipv4(FlowKey& key, const std::uint8_t* addresses, IpProtocol protocol, Realm realm) noexcept {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::uint64_t kMapped = 0xffff0000;  // bytes 8 to 11 of ::ffff:0:0/96
    std::uint32_t from = 0, to = 0, ports = 0;
    std::memcpy(&from, addresses, 4);
    std::memcpy(&to, addresses + 4, 4);
    std::memcpy(&ports, addresses + 8, 4);
    // Word by word, as the hash reads them: a load that spans two recent stores cannot be forwarded and stalls.
    const auto write = [&](std::size_t index, std::uint64_t word) noexcept {
      std::memcpy(reinterpret_cast<std::uint8_t*>(&key) + 8 * index, &word, sizeof word);
    };
    write(0, 0);
    write(1, kMapped | std::uint64_t{from} << 32);
    write(2, 0);
    write(3, kMapped | std::uint64_t{to} << 32);
    write(4, ports | std::uint64_t{static_cast<std::uint8_t>(protocol)} << 32 | std::uint64_t{realm.value()} << 48);
  }

  [[nodiscard]] FlowKey reversed() const noexcept {
    FlowKey key = *this;
    key.source = destination;
    key.destination = source;
    key.source_port = destination_port;
    key.destination_port = source_port;
    return key;
  }
  friend bool operator==(const FlowKey& a, const FlowKey& b) noexcept {
    return ((a.word(0) ^ b.word(0)) | (a.word(1) ^ b.word(1)) | (a.word(2) ^ b.word(2)) | (a.word(3) ^ b.word(3)) |
            (a.word(4) ^ b.word(4))) == 0;
  }

  // Word `index` (0 to 4) of the key, for comparison and hash: loaded with the width it was stored with.
  [[nodiscard]] std::uint64_t word(std::size_t index) const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, reinterpret_cast<const std::uint8_t*>(this) + 8 * index, sizeof word);
    return word;
  }
};
static_assert(sizeof(FlowKey) == 40 && alignof(FlowKey) == 8 && std::is_trivially_copyable_v<FlowKey>);
static_assert(std::has_unique_object_representations_v<FlowKey>, "compared and hashed as bytes");

namespace flow_hash {

// The high and low halves of a 128-bit product, folded: every input bit reaches every output bit.
[[nodiscard]] inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace flow_hash

// The hash of the table's index, keyed with secrets so that an attacker cannot aim at one bucket. Not CRC32C, although
// that is one instruction: CRC is linear, so keys that collide under one seed collide under every seed.
class FlowHasher {
 public:
  // Secrets from the kernel's random number generator.
  [[nodiscard]] static FlowHasher random() noexcept;
  // For tests and benchmarks: the same secrets every time.
  explicit FlowHasher(std::uint64_t seed) noexcept {
    for (auto& secret : secrets_) {
      seed += 0x9e3779b97f4a7c15ULL;
      secret = flow_hash::mix(seed, 0xd6e8feb86659fd93ULL) | 1;
    }
  }

  [[nodiscard]] std::uint64_t operator()(const FlowKey& key) const noexcept {
    const std::uint64_t a = flow_hash::mix(key.word(0) ^ secrets_[0], key.word(1) ^ secrets_[1]);
    const std::uint64_t b = flow_hash::mix(key.word(2) ^ secrets_[2], key.word(3) ^ secrets_[3]);
    // Mixed twice: for keys with consecutive ports the first product is an arithmetic progression, which some secrets
    // concentrate in few regions of the index.
    constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ULL;
    return flow_hash::mix(flow_hash::mix(a ^ secrets_[4], b ^ key.word(4) ^ secrets_[5]), kOdd);
  }

 private:
  std::uint64_t secrets_[6];
};

// Equal for both directions and on every gateway of the fleet (not keyed): chooses the peer gateway that owns a
// connection. Part of the fleet's protocol; a test pins its values. The realm is hashed too.
[[nodiscard]] std::uint32_t symmetric_hash(const FlowKey& key) noexcept;

}  // namespace isthmus
