// encapsulate: packets that leave by the fabric get the outer header of their peer.
#include "dataplane/path/context.h"
#include "dataplane/path/output.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

std::uint8_t ecn_of(const std::uint8_t* ip, Family family) noexcept {
  return family == Family::kIpv4 ? static_cast<std::uint8_t>(ip[1] & 3) : static_cast<std::uint8_t>((ip[1] >> 4) & 3);
}

}  // namespace

std::optional<DropReason> push_tunnel(PathContext& context, Frame& frame, std::uint8_t* ip, std::uint32_t ip_bytes,
                                      Family family, PeerId peer, Vni vni, std::uint16_t entropy) noexcept {
  const DeviceId underlay = context.shared.options.underlay_device;
  if (ip_bytes + Encapsulation::kOverhead > context.shared.adjacencies.mtu(underlay).value()) {
    return DropReason::k_oversize;
  }
  const PeerRecord& record = (*context.snapshot->peers)[peer];
  if (!record.known()) {
    return DropReason::k_no_peer;
  }
  std::uint8_t* start = ip - Encapsulation::kHeaderBytes;
  if (start < context.pool.chunk_start(frame.chunk)) {
    return DropReason::k_headroom;
  }
  Encapsulation::Patch patch;
  patch.vni = vni;
  patch.inner_ip_bytes = ip_bytes;
  patch.inner_type =
      Be16::of(static_cast<std::uint16_t>(family == Family::kIpv4 ? EtherType::kIpv4 : EtherType::kIpv6));
  patch.id = Be16::of(context.ip_id++);
  patch.entropy = entropy;
  patch.ecn = ecn_of(ip, family);
  Encapsulation::push(record.header, patch, start);
  frame.data = start;
  frame.length = ip_bytes + Encapsulation::kHeaderBytes;
  context.counters.encapsulated.add();
  return std::nullopt;
}

void encapsulate(PathContext& context, Burst& burst) noexcept {
  for (Packet& packet : burst) {
    if (!packet.alive()) {
      continue;
    }
    const DirectionBlock& block = *packet.block;
    if (block.to == Side::kFabric) {
      if (const auto fault = push_tunnel(context, packet.frame, packet.ip, packet.ip_bytes, packet.family,
                                         block.encap_peer, block.encap_vni, block.entropy)) {
        packet.drop(*fault);
      }
    } else {
      // Decapsulated or not, an Ethernet header stands right in front of the IP header.
      packet.frame.data = packet.ip - sizeof(net::Ethernet);
      packet.frame.length = packet.ip_bytes + static_cast<std::uint32_t>(sizeof(net::Ethernet));
    }
  }
}

}  // namespace isthmus
