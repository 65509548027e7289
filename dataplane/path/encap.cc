// encapsulate: packets that leave by the fabric get the outer header of their peer.
#include "dataplane/path/context.h"
#include "dataplane/path/output.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

std::uint8_t ecn_of(const std::uint8_t* ip, Family family) noexcept {
  return family == Family::kIpv4 ? static_cast<std::uint8_t>(ip[1] & 3) : static_cast<std::uint8_t>((ip[1] >> 4) & 3);
}

struct Tunnelled {
  PeerId peer;
  Vni vni;
  std::uint16_t entropy = 0;
  Family family = Family::kIpv4;
};

// The packet is no longer than the underlay carries.
inline std::optional<DropReason> push(PathContext& context, Frame& frame, std::uint8_t* ip, std::uint32_t ip_bytes,
                                      const Tunnelled& tunnelled) noexcept {
  const PeerRecord& record = (*context.snapshot->peers)[tunnelled.peer];
  if (!record.known()) [[unlikely]] {
    return DropReason::k_no_peer;
  }
  std::uint8_t* start = ip - Encapsulation::kHeaderBytes;
  if (start < context.pool.chunk_start(frame.chunk)) [[unlikely]] {
    return DropReason::k_headroom;
  }
  Encapsulation::Patch patch;
  patch.vni = tunnelled.vni;
  patch.inner_ip_bytes = ip_bytes;
  patch.family = tunnelled.family;
  patch.id = Be16::of(context.ip_id++);
  patch.entropy = tunnelled.entropy;
  patch.ecn = ecn_of(ip, tunnelled.family);
  Encapsulation::push(record.header, patch, start);
  frame.data = start;
  frame.length = ip_bytes + Encapsulation::kHeaderBytes;
  return std::nullopt;
}

}  // namespace

std::optional<DropReason> push_tunnel(PathContext& context, Frame& frame, std::uint8_t* ip, std::uint32_t ip_bytes,
                                      Family family, PeerId peer, Vni vni, std::uint16_t entropy) noexcept {
  const DeviceId underlay = context.shared.options.underlay_device;
  if (ip_bytes + Encapsulation::kOverhead > context.shared.adjacencies.mtu(underlay).value()) {
    return DropReason::k_oversize;
  }
  const auto fault = push(context, frame, ip, ip_bytes, {peer, vni, entropy, family});
  context.counters.encapsulated.add(fault ? 0 : 1);
  return fault;
}

void encapsulate(PathContext& context, Burst& burst) noexcept {
  std::uint64_t encapsulated = 0, fabric_bytes = 0, local_bytes = 0;
  for (Packet& packet : burst) {
    if (!packet.alive()) {
      continue;
    }
    const DirectionBlock& block = *packet.block;
    if (block.to == Side::kFabric) {
      if (const auto fault = push(context, packet.frame, packet.ip, packet.ip_bytes,
                                  {block.encap_peer, block.encap_vni, block.entropy, packet.family})) [[unlikely]] {
        packet.drop(*fault);
        continue;
      }
      ++encapsulated;
      fabric_bytes += packet.ip_bytes;
    } else {
      // Decapsulated or not, an Ethernet header stands right in front of the IP header.
      packet.frame.data = packet.ip - sizeof(net::Ethernet);
      packet.frame.length = packet.ip_bytes + static_cast<std::uint32_t>(sizeof(net::Ethernet));
      local_bytes += packet.ip_bytes;
    }
  }
  context.counters.encapsulated.add(encapsulated);
  context.counters.fabric_bytes.add(fabric_bytes);
  context.counters.local_bytes.add(local_bytes);
}

}  // namespace isthmus
