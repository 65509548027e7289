// DirectionBlock: the cached decision for one direction of a connection. The first packet computes it; later packets
// only apply it. Numbers only, no pointers: it lives in the shared mapping and can be handed to XDP unchanged.
//
// Built by `admit`, copied into the table by FlowTable::insert or revalidate, immutable afterwards. Any worker may read
// it inside a read section. Freed one grace period after it was replaced.
// An IPv4 packet needs the first cache line only; IPv6 takes its addresses from the second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

inline constexpr std::size_t kEpochsPerBlock = 5;

struct DirectionBlock {
  // Bits of `flags`.
  static constexpr std::uint8_t kRewriteSource = 1;       // address and port
  static constexpr std::uint8_t kRewriteDestination = 2;  // address and port

  std::uint8_t verdict = 0;      // of the packet path; 0: forward
  std::uint8_t drop_reason = 0;  // valid when the verdict is drop
  std::uint8_t flags = 0;
  Side from = Side::kLocal;   // ingress side
  Side to = Side::kLocal;     // egress side
  DeviceId device;            // egress device
  std::uint16_t entropy = 0;  // for the outer UDP source port
  PeerId required_peer;       // peer that packets must come from; kNoPeer: the local side
  Vni required_vni;
  PeerId encap_peer;  // peer to encapsulate to; kNoPeer: no tunnel
  Vni encap_vni;
  AdjacencyId adjacency;
  Seconds valid_until;                              // table clock; 0: no time limit, only the epochs
  std::uint16_t epoch_index[kEpochsPerBlock] = {};  // 0: unused
  std::uint8_t zero[2] = {};
  std::uint32_t epoch_sum = 0;  // sum of epoch_value; words only grow, so an equal sum means that none changed
  Be16 source_port;             // after rewriting
  Be16 destination_port;
  std::uint16_t ip_checksum_delta = 0;  // one's complement delta (RFC 1624) for the IPv4 header checksum
  std::uint16_t l4_checksum_delta = 0;  // and for the TCP, UDP or ICMP checksum
  Be32 ipv4_source;                     // copies of `source` and `destination` for IPv4
  Be32 ipv4_destination;

  IpAddress source;  // after rewriting
  IpAddress destination;
  std::uint32_t epoch_value[kEpochsPerBlock] = {};
  Identity source_identity;
  std::uint8_t reserved[8] = {};
};
static_assert(sizeof(DirectionBlock) == 128 && std::is_trivially_copyable_v<DirectionBlock>);
static_assert(std::is_standard_layout_v<DirectionBlock> && alignof(DirectionBlock) == 4);
static_assert(offsetof(DirectionBlock, required_peer) == 8 && offsetof(DirectionBlock, valid_until) == 28);
static_assert(offsetof(DirectionBlock, epoch_index) == 32 && offsetof(DirectionBlock, epoch_sum) == 44);
static_assert(offsetof(DirectionBlock, source_port) == 48 && offsetof(DirectionBlock, ipv4_source) == 56);
static_assert(offsetof(DirectionBlock, source) == 64 && offsetof(DirectionBlock, epoch_value) == 96);

}  // namespace isthmus
