// FlowKey: identifies one direction of a connection, as its packets look on arrival (inner addresses). An IPv4 key
// takes 16 of its 40 bytes; the rest is zero. Plain value, any thread. Ports are in network byte order, as in the
// packet.
//
// ICMP echo has no ports: see echo.h. Of protocols that have none (GRE, ESP, what we do not know) both ports are zero:
// all packets of one protocol between two addresses are one connection.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dataplane/base/mix.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct alignas(8) FlowKey {
  FlowKey() noexcept = default;
  // Precondition: both addresses are of one family.
  FlowKey(const IpAddress& source, const IpAddress& destination, Be16 from_port, Be16 to_port, IpProtocol l4,
          Realm space) noexcept
      : source_port(from_port), destination_port(to_port), protocol(l4), realm(space) {
    set_source(source);
    set_destination(destination);
  }

  [[nodiscard]] IpAddress source() const noexcept {
    return family == Family::kIpv4 ? IpAddress::ipv4(Be32::raw(static_cast<std::uint32_t>(head)))
                                   : IpAddress::from_words(head, tail[0]);
  }
  [[nodiscard]] IpAddress destination() const noexcept {
    return family == Family::kIpv4 ? IpAddress::ipv4(Be32::raw(static_cast<std::uint32_t>(head >> 32)))
                                   : IpAddress::from_words(tail[1], tail[2]);
  }
  // An address of the other family clears the key's other address.
  void set_source(const IpAddress& address) noexcept {
    become(address.family());
    if (family == Family::kIpv4) {
      head = (head & 0xffffffff00000000ULL) | address.as_ipv4().wire();
    } else {
      head = address.word(0);
      tail[0] = address.word(1);
    }
  }
  void set_destination(const IpAddress& address) noexcept {
    become(address.family());
    if (family == Family::kIpv4) {
      head = (head & 0xffffffffULL) | std::uint64_t{address.as_ipv4().wire()} << 32;
    } else {
      tail[1] = address.word(0);
      tail[2] = address.word(1);
    }
  }

  // The words of an IPv4 packet's key. `addresses` points to 12 bytes as they lie in a packet without IP options:
  // source address, destination address, source port, destination port.
  // `space`: ipv4_space(realm).
  struct Ipv4Words {
    std::uint64_t head, rest;
  };
  [[nodiscard]] static Ipv4Words ipv4_words(const std::uint8_t* addresses, IpProtocol protocol,
                                            std::uint64_t space) noexcept {
    static_assert(std::endian::native == std::endian::little);
    std::uint64_t head = 0;
    std::uint32_t ports = 0;
    std::memcpy(&head, addresses, sizeof head);
    std::memcpy(&ports, addresses + 8, sizeof ports);
    return {head, ports | std::uint64_t{static_cast<std::uint8_t>(protocol)} << 32 | space};
  }
  // The words of an IPv4 key.
  [[nodiscard]] Ipv4Words ipv4_words() const noexcept { return {head, rest()}; }
  // Those of the reversed key.
  [[nodiscard]] Ipv4Words reversed_ipv4_words() const noexcept {
    constexpr std::uint64_t kPorts = 0xffffffff;
    const std::uint64_t own = rest();
    return {head << 32 | head >> 32, (own & ~kPorts) | std::rotl(static_cast<std::uint32_t>(own), 16)};
  }
  [[nodiscard]] static std::uint64_t ipv4_space(Realm realm) noexcept {
    return std::uint64_t{static_cast<std::uint8_t>(Family::kIpv4)} << 40 | std::uint64_t{realm.value()} << 48;
  }
  // Leaves the tail alone, which comparison and hash of an IPv4 key do not read; clear_tail() before the key is stored.
  // Word by word: a load that spans several recent stores cannot be forwarded and stalls.
  void write_ipv4(const Ipv4Words& words) noexcept {
    head = words.head;
    std::memcpy(reinterpret_cast<std::uint8_t*>(this) + 8, &words.rest, sizeof words.rest);
  }
  void clear_tail() noexcept { std::memset(tail, 0, sizeof tail); }

  [[nodiscard]] FlowKey reversed() const noexcept {
    FlowKey key = *this;
    key.source_port = destination_port;
    key.destination_port = source_port;
    if (family == Family::kIpv4) {
      key.head = head << 32 | head >> 32;
    } else {
      key.head = tail[1];
      key.tail[0] = tail[2];
      key.tail[1] = head;
      key.tail[2] = tail[0];
    }
    return key;
  }
  friend bool operator==(const FlowKey& a, const FlowKey& b) noexcept {
    return ((a.head ^ b.head) | (a.rest() ^ b.rest())) == 0 &&
           (a.family == Family::kIpv4 ||
            ((a.tail[0] ^ b.tail[0]) | (a.tail[1] ^ b.tail[1]) | (a.tail[2] ^ b.tail[2])) == 0);
  }

  // Ports, protocol, family and realm as one word: loaded with the width it was stored with.
  [[nodiscard]] std::uint64_t rest() const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, reinterpret_cast<const std::uint8_t*>(this) + 8, sizeof word);
    return word;
  }

  // IPv4: source and destination address. IPv6: the first half of the source address.
  std::uint64_t head = 0;
  Be16 source_port;
  Be16 destination_port;
  IpProtocol protocol = IpProtocol::kTcp;
  Family family = Family::kIpv4;
  Realm realm;
  // IPv6: the second half of the source address, then the destination address. IPv4: zero.
  std::uint64_t tail[3] = {};

 private:
  void become(Family other) noexcept {
    if (family != other) {
      family = other;
      head = 0;
      std::memset(tail, 0, sizeof tail);
    }
  }
};
static_assert(sizeof(FlowKey) == 40 && std::is_trivially_copyable_v<FlowKey> && std::is_standard_layout_v<FlowKey>);
static_assert(offsetof(FlowKey, source_port) == 8 && offsetof(FlowKey, realm) == 14 && offsetof(FlowKey, tail) == 16);

namespace flow_hash {

[[nodiscard]] inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept { return folded_product(a, b); }

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
    std::uint64_t sum = flow_hash::mix(key.head ^ secrets_[0], key.rest() ^ secrets_[1]);
    if (key.family != Family::kIpv4) [[unlikely]] {
      sum ^= flow_hash::mix(flow_hash::mix(key.tail[0] ^ secrets_[2], key.tail[1] ^ secrets_[3]) ^ secrets_[4],
                            key.tail[2] ^ secrets_[5]);
    }
    return finish(sum);
  }
  // The same for an IPv4 key with these words.
  [[nodiscard]] std::uint64_t ipv4(std::uint64_t head, std::uint64_t rest) const noexcept {
    return finish(flow_hash::mix(head ^ secrets_[0], rest ^ secrets_[1]));
  }

 private:
  // Mixed twice: for keys with consecutive ports the first product is an arithmetic progression, which some secrets
  // concentrate in few regions of the index.
  [[nodiscard]] std::uint64_t finish(std::uint64_t sum) const noexcept {
    constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ULL;
    return flow_hash::mix(sum ^ secrets_[4], kOdd);
  }

  std::uint64_t secrets_[6];
};

// Equal for both directions and on every gateway of the fleet (not keyed): chooses the peer gateway that owns a
// connection. Part of the fleet's protocol; a test pins its values. The realm is hashed too.
[[nodiscard]] std::uint32_t symmetric_hash(const FlowKey& key) noexcept;

}  // namespace isthmus
