// DirectionBlock: the cached decision for one direction of a connection. The first packet computes it; later packets
// only apply it. Numbers only, no pointers: it lives in the shared mapping and can be handed to XDP unchanged.
//
// Built by the slow path, copied into the table by FlowTable::insert or revalidate, immutable afterwards but for
// `verified_at`, `epoch_sum` and `epoch_value`. Any worker may read it inside a read section. Freed one grace period
// after it was replaced. An IPv4 packet needs the first cache line only; IPv6 takes its addresses from the second.
// Words that go into a packet are in wire order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"
#include "dataplane/packet/origin.h"

namespace isthmus {

inline constexpr std::size_t kEpochsPerBlock = 6;

struct alignas(64) DirectionBlock {
  // Bits of `flags`.
  static constexpr std::uint8_t kRewriteSource = 1;       // address and port
  static constexpr std::uint8_t kRewriteDestination = 2;  // address and port
  static constexpr std::uint8_t kRewrite = kRewriteSource | kRewriteDestination;
  static constexpr std::uint8_t kDecrementTtl = 4;
  static constexpr std::uint8_t kTunnel = 8;  // leaves in a tunnel to `encap_peer`
  // And takes a DSR option: of TCP a SYN, of anything else all. `mtu` is then 0 but for TCP, so that the fast path
  // leaves such packets to path/direct_return_slow.cc.
  static constexpr std::uint8_t kDsrOption = 16;

  Origin origin;  // that packets must have
  // EpochTable::generation() when the epoch words were last compared; 0: never, or the block has a time limit. A hint
  // that any worker may overwrite: a decision whose generation has passed is compared word by word.
  mutable std::uint32_t verified_at = 0;
  PeerId encap_peer;           // peer to encapsulate to; kNoPeer: no tunnel
  std::uint32_t vni_word = 0;  // VNI to send, as in the tunnel header: upper three bytes on the wire
  Be16 outer_port;             // outer UDP source port
  std::uint16_t mtu = 0;       // the longest inner IP packet in bytes
  AdjacencyId adjacency;
  DeviceId device;  // egress device
  std::uint8_t flags = 0;
  Be16 source_port;  // after rewriting
  Be16 destination_port;
  // One's complement differences (RFC 1624) for the IPv4 header checksum, the decrement of the TTL included, and for
  // the TCP, UDP or ICMP checksum.
  std::uint16_t ip_checksum_delta = 0;
  std::uint16_t l4_checksum_delta = 0;
  std::uint8_t zero[2] = {};
  Be32 ipv4_source;  // addresses after rewriting, for IPv4
  Be32 ipv4_destination;
  // Sum of the words' values when the decision was made; words only grow, so an equal sum means that none changed.
  // Stored again when the decision was made again; read and written as one word.
  mutable std::uint32_t epoch_sum = 0;
  std::uint16_t epoch_index[kEpochsPerBlock] = {};  // 0: unused

  IpAddress ipv6_source;  // the same for IPv6
  IpAddress ipv6_destination;
  Identity source_identity;
  Seconds valid_until;  // table clock; 0: no time limit, only the epochs
  // What the slow path compares when words have moved (slowpath/recheck.h).
  std::uint32_t ends = 0;  // digest of what is known of both ends
  ClusterId source_cluster, destination_cluster;
  bool by_parts = false;  // may be rechecked
  std::uint8_t zero_too[3] = {};
  mutable std::uint16_t epoch_value[kEpochsPerBlock] = {};  // lower halves of the words, by place

  // After rewriting.
  [[nodiscard]] IpAddress source(Family family) const noexcept {
    return family == Family::kIpv4 ? IpAddress::ipv4(ipv4_source) : ipv6_source;
  }
  [[nodiscard]] IpAddress destination(Family family) const noexcept {
    return family == Family::kIpv4 ? IpAddress::ipv4(ipv4_destination) : ipv6_destination;
  }
  [[nodiscard]] Side to() const noexcept { return (flags & kTunnel) != 0 ? Side::kFabric : Side::kLocal; }
};
static_assert(sizeof(DirectionBlock) == 128 && std::is_trivially_copyable_v<DirectionBlock>);
static_assert(std::is_standard_layout_v<DirectionBlock>);
static_assert(offsetof(DirectionBlock, encap_peer) == 12 && offsetof(DirectionBlock, adjacency) == 24);
static_assert(offsetof(DirectionBlock, source_port) == 30 && offsetof(DirectionBlock, ipv4_source) == 40);
static_assert(offsetof(DirectionBlock, epoch_sum) == 48 && offsetof(DirectionBlock, epoch_index) == 52);
static_assert(offsetof(DirectionBlock, ipv6_source) == 64 && offsetof(DirectionBlock, source_identity) == 96);
static_assert(offsetof(DirectionBlock, epoch_value) == 116);

}  // namespace isthmus
