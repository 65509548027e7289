// encapsulate: puts the peer's outer header in front of packets that leave by the fabric side. One packet at a time, as
// part of send().
#pragma once

#include "dataplane/originate/push.h"
#include "dataplane/packet/packet.h"
#include "dataplane/path/context.h"

namespace isthmus::encapsulation {

// Sums over one burst, added to the worker's counters at its end.
struct Tally {
  std::uint64_t encapsulated = 0, fabric_bytes = 0, local_bytes = 0;
};

// False: the packet has been dropped.
[[nodiscard]] inline bool encapsulate(PathContext& context, Packet& packet, const DirectionBlock& block,
                                      Tally& tally) noexcept {
  if (block.to == Side::kFabric) {
    if (const auto drop = push(context.output, packet.frame, packet.ip, packet.ip_bytes,
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
