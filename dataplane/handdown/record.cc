#include "dataplane/handdown/record.h"

#include <algorithm>
#include <cstring>

#include "dataplane/slowpath/decision.h"

namespace isthmus {
namespace {

static_assert(ISTHMUS_REWRITE_SOURCE == DirectionBlock::kRewriteSource &&
              ISTHMUS_REWRITE_DESTINATION == DirectionBlock::kRewriteDestination &&
              ISTHMUS_DECREMENT_TTL == DirectionBlock::kDecrementTtl && ISTHMUS_ENCAPSULATE == DirectionBlock::kTunnel);
static_assert(ISTHMUS_EPOCHS_PER_FLOW == kEpochsPerBlock);
static_assert(ISTHMUS_VXLAN == static_cast<int>(EncapsulationKind::kVxlan) &&
              ISTHMUS_GENEVE == static_cast<int>(EncapsulationKind::kGeneve));
static_assert(ISTHMUS_HEADER_CAPACITY == OuterHeader::kCapacity);
static_assert(sizeof(FlowKey) == sizeof(isthmus_flow_key) &&
              offsetof(FlowKey, source_port) == offsetof(isthmus_flow_key, source_port) &&
              offsetof(FlowKey, protocol) == offsetof(isthmus_flow_key, protocol) &&
              offsetof(FlowKey, realm) == offsetof(isthmus_flow_key, realm) &&
              offsetof(FlowKey, tail) == offsetof(isthmus_flow_key, tail));

// As the records have it: IPv4 in the first four bytes, the rest is zero.
void write_address(const IpAddress& address, std::uint8_t* at) noexcept {
  if (address.is_ipv4()) {
    const std::uint32_t word = address.as_ipv4().wire();
    std::memcpy(at, &word, sizeof word);
  } else {
    std::memcpy(at, address.bytes().data(), 16);
  }
}

}  // namespace

// Where packets come again from a peer that had ceased to be live, where replies go depends on them. What a DSR option
// has opened, or takes one, stays here: its UDP packets have options, and a SYN may ask for another service.
// An answer goes to the workers until one has opened the connection. UDP of which each way is a connection of its own,
// as of tunnels, is never answered.
bool may_go_down(const Connection& connection, Direction direction) noexcept {
  const bool udp = connection.protocol() == IpProtocol::kUdp;
  if ((!udp && connection.protocol() != IpProtocol::kTcp) || connection.ending() || connection.shared.direct_return ||
      (connection.shared.user_flags() & (kReturnedFlag | kDsrFlag)) != 0) {
    return false;
  }
  const auto settled = [&](Direction each) {
    return (connection.line(each).seen.load(std::memory_order_relaxed) & mark::kSettled) != 0;
  };
  return connection.opened()
             ? settled(Direction::kForward) && settled(Direction::kReply)
             : udp && direction == Direction::kForward && settled(direction) && !connection.starts_with_answer();
}

bool can_go_down(const DirectionBlock& block, const KernelEgresses& egresses) noexcept {
  return block.valid_until.value() == 0 && block.device.value() < egresses.size() && egresses[block.device.value()];
}

isthmus_flow_key key_of(const FlowKey& key) noexcept {
  isthmus_flow_key wire{};
  std::memcpy(&wire, &key, sizeof wire);
  return wire;
}

isthmus_flow flow_of(const DirectionBlock& block, Family family, const RecordNumbers& numbers) noexcept {
  isthmus_flow flow{};
  write_address(block.source(family), flow.source);
  write_address(block.destination(family), flow.destination);
  flow.lease = numbers.lease;
  flow.next_hop = numbers.next_hop;
  flow.vni_word = block.vni_word;
  flow.source_port = block.source_port.wire();
  flow.destination_port = block.destination_port.wire();
  flow.outer_port = block.outer_port.wire();
  flow.tunnel = numbers.tunnel;
  flow.from = numbers.from;
  flow.mtu = block.mtu;
  flow.ip_delta = block.ip_checksum_delta;
  flow.l4_delta = block.l4_checksum_delta;
  std::copy(std::begin(block.epoch_index), std::end(block.epoch_index), flow.epoch_index);
  flow.flags = block.flags;
  if (block.origin.side() == Side::kFabric) {
    flow.flags |= ISTHMUS_FROM_TUNNEL;
    flow.from_vni = Be32::of(block.origin.vni().value() << 8).wire();
  } else if (block.origin.on_underlay()) {
    flow.flags |= ISTHMUS_FROM_UNDERLAY;
  }
  flow.device = block.device.value();
  return flow;
}

std::optional<isthmus_tunnel> tunnel_of(const PeerRecord& peer, const TunnelEnds& own) noexcept {
  const bool tunnels = peer.from_kind == EncapsulationKind::kVxlan || peer.from_kind == EncapsulationKind::kGeneve;
  if (!peer.known() || !tunnels || peer.header.size == 0) {
    return std::nullopt;
  }
  isthmus_tunnel tunnel{};
  std::copy(peer.header.bytes.begin(), peer.header.bytes.end(), tunnel.header);
  tunnel.sum = peer.header.sum;
  tunnel.size = static_cast<std::uint16_t>(peer.header.size);
  tunnel.overhead = static_cast<std::uint16_t>(peer.header.overhead);
  write_address(peer.underlay, tunnel.address);
  tunnel.from_port = Be16::of(own.port(peer.from_kind).value()).wire();
  tunnel.from_kind = static_cast<std::uint8_t>(peer.from_kind);
  tunnel.family = static_cast<std::uint8_t>(peer.underlay.family());
  return tunnel;
}

}  // namespace isthmus
