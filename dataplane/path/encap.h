// encapsulate: puts the peer's outer header in front of packets that leave by the fabric side. One packet at a time, as
// part of send().
#pragma once

#include <optional>

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus::encapsulation {

[[nodiscard]] inline std::uint8_t ecn_of(const std::uint8_t* ip, Family family) noexcept {
  return family == Family::kIpv4 ? static_cast<std::uint8_t>(ip[1] & 3) : static_cast<std::uint8_t>((ip[1] >> 4) & 3);
}

struct Tunnel {
  PeerId peer;
  Vni vni;
  std::uint16_t entropy = 0;
  Family family = Family::kIpv4;
};

// Puts the outer header in front of the IP packet at `ip`. Precondition: the result fits the underlay's MTU. Returns a
// drop reason if there is no such peer or not enough headroom; the frame is then unchanged.
[[nodiscard]] inline std::optional<DropReason> push(PathContext& context, Frame& frame, std::uint8_t* ip,
                                                    std::uint32_t ip_bytes, const Tunnel& tunnel) noexcept {
  const PeerRecord& record = (*context.snapshot->peers)[tunnel.peer];
  if (!record.known()) [[unlikely]] {
    return DropReason::kNoLiveGateway;
  }
  std::uint8_t* start = ip - Encapsulation::kHeaderBytes;
  if (start < context.pool.chunk_start(frame.chunk)) [[unlikely]] {
    return DropReason::kHeadroom;
  }
  Encapsulation::Patch patch;
  patch.vni = tunnel.vni;
  patch.inner_ip_bytes = ip_bytes;
  patch.family = tunnel.family;
  patch.id = Be16::of(context.ip_id++);
  patch.entropy = tunnel.entropy;
  patch.ecn = ecn_of(ip, tunnel.family);
  Encapsulation::push(record.header, patch, start);
  frame.data = start;
  frame.length = ip_bytes + Encapsulation::kHeaderBytes;
  return std::nullopt;
}

// Sums over one burst, added to the worker's counters at its end.
struct Tally {
  std::uint64_t encapsulated = 0, fabric_bytes = 0, local_bytes = 0;
};

// False: the packet has been dropped.
[[nodiscard]] inline bool encapsulate(PathContext& context, Packet& packet, const DirectionBlock& block,
                                      Tally& tally) noexcept {
  if (block.to == Side::kFabric) {
    if (const auto drop = push(context, packet.frame, packet.ip, packet.ip_bytes,
                               {block.encap_peer, block.encap_vni, block.entropy, packet.family})) [[unlikely]] {
      packet.drop(*drop);
      return false;
    }
    ++tally.encapsulated;
    tally.fabric_bytes += packet.ip_bytes;
    return true;
  }
  // An Ethernet header directly precedes the IP header, whether the packet was decapsulated or not.
  packet.frame.data = packet.ip - sizeof(net::Ethernet);
  packet.frame.length = packet.ip_bytes + static_cast<std::uint32_t>(sizeof(net::Ethernet));
  tally.local_bytes += packet.ip_bytes;
  return true;
}

}  // namespace isthmus::encapsulation
