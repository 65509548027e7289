// From a decision to the direction blocks that the fast path applies: everything that is known of the block's layout in
// the slow path.
#include "dataplane/api/identity.h"
#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/packet/echo.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

constexpr std::uint16_t kOneHop = 0x0100;  // the TTL is the upper byte of its 16-bit word

bool is_icmp(IpProtocol protocol) noexcept { return protocol == IpProtocol::kIcmp || protocol == IpProtocol::kIcmpv6; }

std::uint64_t address_difference(const IpAddress& from, const IpAddress& to) noexcept {
  return from.is_ipv4() && to.is_ipv4()  // their other bytes are equal
             ? std::uint64_t{to.as_ipv4().wire()} + static_cast<std::uint32_t>(~from.as_ipv4().wire())
             : net::difference(from.bytes().data(), to.bytes().data(), 16);
}

std::uint64_t port_difference(Be16 from, Be16 to) noexcept {
  return std::uint64_t{to.wire()} + static_cast<std::uint16_t>(~from.wire());
}

// Sets the rewrite that turns `own` into the reverse of `other`, with its checksum differences.
void set_rewrite(const FlowKey& own, const FlowKey& other, DirectionBlock& block) noexcept {
  block.source = other.destination();
  block.destination = other.source();
  block.ipv4_source = block.source.as_ipv4();
  block.ipv4_destination = block.destination.as_ipv4();
  block.source_port = other.destination_port;
  block.destination_port = other.source_port;
  const bool source = own.source() != block.source || own.source_port != block.source_port;
  const bool destination = own.destination() != block.destination || own.destination_port != block.destination_port;
  block.flags &= static_cast<std::uint8_t>(~DirectionBlock::kRewrite);
  std::uint64_t addresses = 0, ports = 0;
  if (source) {
    block.flags |= DirectionBlock::kRewriteSource;
    addresses += address_difference(own.source(), block.source);
    ports += port_difference(own.source_port, block.source_port);
  }
  if (destination) {
    block.flags |= DirectionBlock::kRewriteDestination;
    addresses += address_difference(own.destination(), block.destination);
    ports += port_difference(own.destination_port, block.destination_port);
  }
  if (is_icmp(own.protocol)) {  // only the identifier is in the packet
    ports = port_difference(echo_identifier(own.source_port, own.destination_port),
                            echo_identifier(block.source_port, block.destination_port));
  }
  const bool hop = (block.flags & DirectionBlock::kDecrementTtl) != 0;
  block.ip_checksum_delta = net::fold(addresses + (hop ? static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()) : 0u));
  // ICMP has no pseudo header in IPv4.
  block.l4_checksum_delta = net::fold(own.protocol == IpProtocol::kIcmp ? ports : addresses + ports);
}

// Counts hops as Cilium does: local delivery takes one, entering the tunnel takes none. Forwarding from tunnel to
// tunnel takes one too, so that a loop ends.
void set_egress(const Egress& egress, DirectionBlock& block) noexcept {
  block.encap_peer = egress.peer;
  block.adjacency = egress.adjacency;
  block.device = egress.device;
  block.mtu = egress.mtu;
  block.vni_word = 0;
  block.outer_port = Be16{};
  block.flags = DirectionBlock::kDecrementTtl;
  if (egress.peer != kNoPeer) {
    block.flags = block.origin.side() == Side::kLocal ? DirectionBlock::kTunnel
                                                      : DirectionBlock::kTunnel | DirectionBlock::kDecrementTtl;
    block.vni_word = encap::vni_word(wire_vni(block.source_identity));
    block.outer_port = encap::entropy_port(egress.hash ^ (egress.hash >> 16));
  }
}

void set_origin(Origin origin, Identity source, const Decision& decision, DirectionBlock& block) noexcept {
  block.origin = origin;
  block.verified_at = 0;
  block.source_identity = source;
  block.valid_until = Seconds{0};
  decision.depends.write_to(block);
}

// What the replies will be like, where that is certain: from our own cluster, or from a published endpoint through the
// peer that the forward direction goes to. Replies that differ, through another gateway, are decided when they come.
bool reply_origin(const DecisionInput& in, const Decision& decision, Origin& origin) noexcept {
  const PeerId peer = decision.egress.peer;
  const Identity identity = decision.destination.identity;
  if (peer == kNoPeer) {
    origin = Origin{};
    return true;
  }
  constexpr std::uint32_t kWireBits = 24;
  const Vni vni{identity.value()};
  origin = Origin(peer, vni);
  return decision.destination.published && identity.value() >= identity::kFirstAllocated &&
         identity.value() >> kWireBits == 0 &&
         in.tables.options.cluster_bits.cluster_of(vni) == decision.destination.cluster;
}

}  // namespace

void build_blocks(const DecisionInput& in, Decision& decision) noexcept {
  DirectionBlock& block = decision.block;
  set_origin(in.facts.origin, decision.source_identity, decision, block);
  block.valid_until = decision.valid_until;
  set_egress(decision.egress, block);
  set_rewrite(decision.own(), decision.other(), block);
  Origin origin;
  decision.reply_known = decision.reply_known && reply_origin(in, decision, origin);
  if (decision.reply_known) {
    set_origin(origin, decision.destination.identity, decision, decision.reply_block);
    set_egress(decision.reply_egress, decision.reply_block);
    set_rewrite(decision.other(), decision.own(), decision.reply_block);
  }
}

void rebuild_rewrites(Decision& decision) noexcept {
  set_rewrite(decision.own(), decision.other(), decision.block);
  if (decision.reply_known) {
    set_rewrite(decision.other(), decision.own(), decision.reply_block);
  }
}

}  // namespace isthmus
