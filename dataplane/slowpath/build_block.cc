// From a decision to the direction blocks that the fast path applies: everything that is known of the block's layout in
// the slow path.
#include <bit>

#include "dataplane/api/identity.h"
#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/packet/echo.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

constexpr std::uint16_t kOneHop = 0x0100;  // the TTL is the upper byte of its 16-bit word

std::uint64_t port_difference(Be16 from, Be16 to) noexcept {
  return std::uint64_t{to.wire()} + static_cast<std::uint16_t>(~from.wire());
}

struct Differences {
  std::uint64_t addresses = 0, ports = 0;
};

// The two addresses of an IPv4 key are one word, as they are in the block: the reverse of `other` is its halves
// exchanged.
Differences set_ipv4_addresses(const FlowKey& own, const FlowKey& other, DirectionBlock& block) noexcept {
  const std::uint64_t after = other.head << 32 | other.head >> 32;
  const auto source = static_cast<std::uint32_t>(after), destination = static_cast<std::uint32_t>(after >> 32);
  const auto old_source = static_cast<std::uint32_t>(own.head);
  const auto old_destination = static_cast<std::uint32_t>(own.head >> 32);
  block.ipv4_source = Be32::raw(source);
  block.ipv4_destination = Be32::raw(destination);
  block.ipv6_source = block.ipv6_destination = IpAddress{};  // equal decisions are equal bytes
  Differences differences;
  if (source != old_source || own.source_port != block.source_port) {
    block.flags |= DirectionBlock::kRewriteSource;
    differences.addresses += std::uint64_t{source} + static_cast<std::uint32_t>(~old_source);
    differences.ports += port_difference(own.source_port, block.source_port);
  }
  if (destination != old_destination || own.destination_port != block.destination_port) {
    block.flags |= DirectionBlock::kRewriteDestination;
    differences.addresses += std::uint64_t{destination} + static_cast<std::uint32_t>(~old_destination);
    differences.ports += port_difference(own.destination_port, block.destination_port);
  }
  return differences;
}

Differences set_ipv6_addresses(const FlowKey& own, const FlowKey& other, DirectionBlock& block) noexcept {
  block.ipv6_source = other.destination();
  block.ipv6_destination = other.source();
  const auto rewrite = [&](std::uint8_t flag, const IpAddress& from, Be16 from_port, const IpAddress& to,
                           Be16 to_port) -> Differences {
    if (from == to && from_port == to_port) {
      return {};
    }
    block.flags |= flag;
    return {net::difference(from.bytes().data(), to.bytes().data(), 16), port_difference(from_port, to_port)};
  };
  const Differences source =
      rewrite(DirectionBlock::kRewriteSource, own.source(), own.source_port, block.ipv6_source, block.source_port);
  const Differences destination = rewrite(DirectionBlock::kRewriteDestination, own.destination(), own.destination_port,
                                          block.ipv6_destination, block.destination_port);
  return {source.addresses + destination.addresses, source.ports + destination.ports};
}

// Sets the rewrite that turns `own` into the reverse of `other`, with its checksum differences.
void set_rewrite(const FlowKey& own, const FlowKey& other, DirectionBlock& block) noexcept {
  block.source_port = other.destination_port;
  block.destination_port = other.source_port;
  block.flags &= static_cast<std::uint8_t>(~DirectionBlock::kRewrite);
  Differences differences =
      own.family == Family::kIpv4 ? set_ipv4_addresses(own, other, block) : set_ipv6_addresses(own, other, block);
  if (is_icmp(own.protocol)) {  // only the identifier is in the packet
    differences.ports = port_difference(echo_identifier(own.source_port, own.destination_port),
                                        echo_identifier(block.source_port, block.destination_port));
  }
  const bool hop = (block.flags & DirectionBlock::kDecrementTtl) != 0;
  block.ip_checksum_delta =
      net::fold(differences.addresses + (hop ? static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()) : 0u));
  // ICMP has no pseudo header in IPv4.
  block.l4_checksum_delta =
      net::fold(own.protocol == IpProtocol::kIcmp ? differences.ports : differences.addresses + differences.ports);
}

// Of the other direction every difference is the opposite one, but for that of the hop.
void set_reverse_differences(const DirectionBlock& block, DirectionBlock& reverse) noexcept {
  const auto opposite = [](std::uint16_t delta) -> std::uint16_t {
    return delta == 0 ? std::uint16_t{0} : static_cast<std::uint16_t>(~delta);
  };
  reverse.l4_checksum_delta = opposite(block.l4_checksum_delta);
  const std::uint32_t hop = static_cast<std::uint16_t>(~Be16::of(kOneHop).wire());
  const bool hops = (block.flags & DirectionBlock::kDecrementTtl) != 0;
  const bool reverse_hops = (reverse.flags & DirectionBlock::kDecrementTtl) != 0;
  const std::uint16_t addresses =
      net::fold(std::uint64_t{block.ip_checksum_delta} + (hops ? Be16::of(kOneHop).wire() : 0u));
  reverse.ip_checksum_delta = net::fold(std::uint64_t{opposite(addresses)} + (reverse_hops ? hop : 0u));
}

// The rewrite of the other direction, whose packets arrive with what `block` writes and leave as the reverse of `own`.
void set_reverse_rewrite(const FlowKey& own, const DirectionBlock& block, DirectionBlock& reverse) noexcept {
  reverse.source_port = own.destination_port;
  reverse.destination_port = own.source_port;
  reverse.ipv4_source = Be32::raw(static_cast<std::uint32_t>(own.head >> 32));
  reverse.ipv4_destination = Be32::raw(static_cast<std::uint32_t>(own.head));
  reverse.ipv6_source = reverse.ipv6_destination = IpAddress{};
  const bool source = (block.flags & DirectionBlock::kRewriteSource) != 0;
  const bool destination = (block.flags & DirectionBlock::kRewriteDestination) != 0;
  reverse.flags = static_cast<std::uint8_t>((reverse.flags & ~DirectionBlock::kRewrite) |
                                            (source ? DirectionBlock::kRewriteDestination : 0) |
                                            (destination ? DirectionBlock::kRewriteSource : 0));
  set_reverse_differences(block, reverse);
}

// Counts hops as Cilium does: local delivery takes one, entering a tunnel to another cluster takes none. Forwarding
// from tunnel to tunnel, and to a node of our own cluster, takes one too, so that a loop ends.
void set_egress(const Egress& egress, DirectionBlock& block) noexcept {
  block.encap_peer = egress.peer;
  block.adjacency = egress.adjacency;
  block.device = egress.device;
  block.mtu = egress.mtu;
  block.vni_word = 0;
  block.outer_port = Be16{};
  block.flags = DirectionBlock::kDecrementTtl;
  if (egress.peer != kNoPeer) {
    const bool enters = block.origin.side() == Side::kLocal && !egress.within;
    block.flags = enters ? DirectionBlock::kTunnel : DirectionBlock::kTunnel | DirectionBlock::kDecrementTtl;
    block.vni_word = encap::vni_word(wire_vni(block.source_identity));
    block.outer_port = outer_port_of(egress.hash);
  }
}

// See DirectionBlock::kDsrOption.
void set_option(const Decision& decision, DirectionBlock& block) noexcept {
  block.flags |= DirectionBlock::kDsrOption;
  block.mtu = decision.forward->protocol == IpProtocol::kTcp ? block.mtu : std::uint16_t{0};
}

void set_origin(Origin origin, Identity source, const Decision& decision, DirectionBlock& block) noexcept {
  block.origin = origin;
  block.verified_at = 0;
  block.source_identity = source;
  block.valid_until = Seconds{0};
  decision.depends.write_to(block);
}

std::uint32_t digest_of(const End& end) noexcept {
  const std::uint64_t identities = end.identity.value() | std::uint64_t{end.previous.value()} << 32;
  const std::uint64_t places =
      end.cluster.value() | std::uint64_t{end.published} << 16 | std::uint64_t{end.node.value()} << 32;
  const std::uint64_t sum = identities * 0x9e3779b97f4a7c15ULL + places * 0xff51afd7ed558ccdULL +
                            end.receives_as.value() * 0xc4ceb9fe1a85ec53ULL + end.grace_until.value();
  return static_cast<std::uint32_t>(sum >> 32 ^ sum);
}

std::uint32_t digest_of(std::uint32_t source, std::uint32_t destination) noexcept {
  return source + std::rotl(destination, 16);
}

// What is never decided by parts: what expires, what policy has only let pass, what answers a connection that was never
// seen to be opened.
bool may_be_by_parts(const DecisionInput& in, const Decision& decision) noexcept {
  const bool answer = in.facts.connection != nullptr && in.facts.connection->starts_with_answer();
  const bool rare = answer || decision.dsr || decision.direct_return;
  return decision.valid_until.value() == 0 && !rare && !decision.answers() && !in.facts.icmp_error &&
         decision.egress_policy.outcome != PolicyOutcome::kAudited &&
         decision.ingress_policy.outcome != PolicyOutcome::kAudited;
}

// What the replies will be like, where that is certain: from our own cluster, or from a published endpoint through the
// peer that the forward direction goes to. Replies that differ, through another gateway, are decided when they come.
bool reply_origin(const DecisionInput& in, const Decision& decision, Origin& origin) noexcept {
  const PeerId peer = decision.egress.peer;
  const Identity identity = decision.destination.identity;
  if (peer == kNoPeer) {
    origin = Origin::plain(decision.egress.device == in.tables.options.underlay_device);
    return true;
  }
  constexpr std::uint32_t kWireBits = 24;
  const Vni vni{identity.value()};
  origin = Origin(peer, vni);
  return decision.destination.published && identity.value() >= identity::kFirstAllocated &&
         identity.value() >> kWireBits == 0 &&
         in.tables.options.cluster_bits.cluster_of(vni) == decision.destination.cluster;
}

void set_parts(const DecisionInput& in, Decision& decision) noexcept {
  const std::uint32_t source = digest_of(decision.source), destination = digest_of(decision.destination);
  const bool by_parts = may_be_by_parts(in, decision);
  const auto set = [&](DirectionBlock& block, std::uint32_t ends, const End& from, const End& to) {
    block.ends = ends;
    block.source_cluster = from.cluster;
    block.destination_cluster = to.cluster;
    block.by_parts = by_parts;
  };
  set(decision.block, digest_of(source, destination), decision.source, decision.destination);
  if (decision.reply_known) {
    set(decision.reply_block, digest_of(destination, source), decision.destination, decision.source);
  }
}

// With DSR the two directions are not each other's reverse: the service is in the replies alone.
void set_both(Decision& decision) noexcept {
  DirectionBlock* const reply = decision.reply_known ? &decision.reply_block : nullptr;
  if (!decision.dsr) [[likely]] {
    return set_rewrites(decision.own(), decision.other(), decision.block, reply);
  }
  FlowKey asked = *decision.forward;
  asked.set_destination(decision.asked.address);
  asked.destination_port = decision.asked.port;
  if (decision.direction == Direction::kReply) {
    return set_rewrite(*decision.reply, asked, decision.block);
  }
  set_rewrite(*decision.forward, *decision.reply, decision.block);
  if (reply != nullptr) {
    set_rewrite(*decision.reply, asked, *reply);
  }
}

}  // namespace

void build_blocks(const DecisionInput& in, Decision& decision) noexcept {
  DirectionBlock& block = decision.block;
  set_origin(in.facts.origin, decision.source_identity, decision, block);
  block.valid_until = decision.valid_until;
  set_egress(decision.egress, block);
  if (decision.direct_return && decision.direction == Direction::kForward) [[unlikely]] {
    set_option(decision, block);
  }
  Origin origin;
  decision.reply_known = decision.reply_known && reply_origin(in, decision, origin);
  if (decision.reply_known) {
    set_origin(origin, decision.destination.identity, decision, decision.reply_block);
    decision.reply_block.valid_until = decision.dsr ? decision.valid_until : Seconds{0};
    set_egress(decision.reply_egress, decision.reply_block);
  }
  set_parts(in, decision);
  set_both(decision);
}

void set_rewrites(const FlowKey& own, const FlowKey& other, DirectionBlock& block, DirectionBlock* reverse) noexcept {
  set_rewrite(own, other, block);
  if (reverse != nullptr && own.family == Family::kIpv4) {
    set_reverse_rewrite(own, block, *reverse);
  } else if (reverse != nullptr) {
    set_rewrite(other, own, *reverse);
  }
}

void set_opening_rewrites(const FlowKey& own, const FlowKey& reply, DirectionBlock& block,
                          DirectionBlock& reverse) noexcept {
  const auto source = static_cast<std::uint32_t>(own.head), destination = static_cast<std::uint32_t>(own.head >> 32);
  const auto target = static_cast<std::uint32_t>(reply.head);
  block.ipv4_source = reverse.ipv4_destination = Be32::raw(source);
  block.source_port = reverse.destination_port = own.source_port;
  block.ipv4_destination = Be32::raw(target);
  block.destination_port = reply.source_port;
  reverse.ipv4_source = Be32::raw(destination);
  reverse.source_port = own.destination_port;
  const bool translated = target != destination || own.destination_port != reply.source_port;
  if (!translated && (block.flags & DirectionBlock::kRewrite) == 0) {
    return;
  }
  const auto set = [](DirectionBlock& to, std::uint8_t rewrite) {
    to.flags = static_cast<std::uint8_t>((to.flags & ~DirectionBlock::kRewrite) | rewrite);
  };
  set(block, translated ? DirectionBlock::kRewriteDestination : 0);
  set(reverse, translated ? DirectionBlock::kRewriteSource : 0);
  const std::uint64_t addresses = translated ? std::uint64_t{target} + static_cast<std::uint32_t>(~destination) : 0;
  const std::uint64_t ports = translated ? port_difference(own.destination_port, reply.source_port) : 0;
  const bool hop = (block.flags & DirectionBlock::kDecrementTtl) != 0;
  block.ip_checksum_delta = net::fold(addresses + (hop ? static_cast<std::uint16_t>(~Be16::of(kOneHop).wire()) : 0u));
  block.l4_checksum_delta = net::fold(addresses + ports);
  set_reverse_differences(block, reverse);
}

Be16 outer_port_of(std::uint32_t hash) noexcept { return encap::entropy_port(hash ^ (hash >> 16)); }

std::uint32_t digest_of(const End& source, const End& destination) noexcept {
  return digest_of(digest_of(source), digest_of(destination));
}

void rebuild_for_port(Decision& decision) noexcept {
  if (decision.egress.peer != kNoPeer) {
    decision.egress.hash = symmetric_hash(decision.other());
    decision.block.outer_port = outer_port_of(decision.egress.hash);
  }
  set_both(decision);
}

}  // namespace isthmus
