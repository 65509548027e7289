// DirectionBlock: the cached decision for one direction of a connection; what a packet pays for at admission and its
// successors carry out. Numbers only, no pointers: it lives in the shared mapping and is later handed to XDP as it is.
//
// Made by `admit`, copied into the table by FlowTable::insert or readmit, immutable from then on, read by any worker
// inside a read section; freed a grace period after its number was swapped out.
// The first cache line is all that an IPv4 packet needs; IPv6 takes its addresses from the second.
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

  std::uint8_t verdict = 0;      // of the path: 0 forwards
  std::uint8_t drop_reason = 0;  // where the verdict is to drop
  std::uint8_t flags = 0;
  Side from = Side::kLocal;   // the side this direction comes from
  Side to = Side::kLocal;     // the side it leaves by
  DeviceId device;            // it leaves by
  std::uint16_t entropy = 0;  // of the outer source port
  PeerId required_peer;       // the tunnel end it must come from; kNoPeer: the local side
  Vni required_vni;
  PeerId encap_peer;  // the tunnel end it goes to; kNoPeer: none
  Vni encap_vni;
  AdjacencyId adjacency;
  Seconds valid_until;                              // of the table's clock; 0: as long as its epochs stand
  std::uint16_t epoch_index[kEpochsPerBlock] = {};  // 0: unused
  std::uint8_t zero[2] = {};
  std::uint32_t epoch_sum = 0;  // of epoch_value: words only grow, so an equal sum means that none has moved
  Be16 source_port;             // after rewriting
  Be16 destination_port;
  std::uint16_t ip_checksum_delta = 0;  // to add, ones' complement (RFC 1624), to the IPv4 header checksum
  std::uint16_t l4_checksum_delta = 0;  // and to the TCP, UDP or ICMP checksum
  Be32 ipv4_source;                     // `source` and `destination`, where they are IPv4
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
