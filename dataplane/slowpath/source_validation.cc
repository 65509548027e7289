// Source validation. From the fabric side: the outer source is a peer of the cluster that the VNI names, the inner
// source lies in that cluster's prefixes, and the VNI is the identity of that source. The source's previous identity is
// accepted for a bounded grace period; the VNI of a source that is not published yet, an allocated or a reserved one,
// is accepted for a bounded hold time, except world and remote node, which are resolved by the inner source as in
// Cilium: one that is not published has the identity of its prefix, or world. A node of this cluster is a peer like any
// other. From the local side: the source lies in this cluster's prefixes, or in those of a cluster with native routing,
// if it arrived on the underlay device. A connection whose source has been an endpoint ends when that endpoint is
// removed. For an endpoint published without labels the VNI cannot be checked: any VNI of its cluster passes, but the
// identity is taken from the address, as for packets sent to that address. The same holds for all addresses of a
// cluster whose labels are not known at all. What a load balancer forwards with a DSR option: dsr.cc. Without
// encryption this stops mistakes and off-path spoofing, not an attacker on the underlay.
#include "dataplane/api/identity.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// Unspecified, loopback or multicast. `address`: as on the wire.
bool unusable_ipv4(std::uint32_t address) noexcept {
  constexpr std::uint32_t kFirstByte = 0xff, kLoopback = 127, kMulticastMask = 0xf0, kMulticast = 0xe0;
  return address == 0 || (address & kFirstByte) == kLoopback || (address & kMulticastMask) == kMulticast;
}

bool unusable_ipv6(const IpAddress& address) noexcept {
  constexpr IpAddress::ByteArray kLoopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return address.is_unspecified() || address.is_multicast() || address == IpAddress(kLoopback);
}

bool is_martian(const FlowKey& key) noexcept {
  if (key.family == Family::kIpv4) {
    const auto source = static_cast<std::uint32_t>(key.head), destination = static_cast<std::uint32_t>(key.head >> 32);
    return source == destination || unusable_ipv4(source) || unusable_ipv4(destination);
  }
  return key.source() == key.destination() || unusable_ipv6(key.source()) || unusable_ipv6(key.destination());
}

// Reserved identities that senders put on the wire: world, unmanaged, health, init, remote node, kube-apiserver,
// ingress, the well-known ones and the user-reserved ones.
constexpr bool reserved_on_wire(Vni vni) noexcept {
  constexpr std::uint32_t kIngress = 8, kFirstWellKnown = 100, kLastWellKnown = 115, kFirstUserReserved = 128;
  const std::uint32_t v = vni.value();
  return (v >= identity::kWorld.value() && v <= kIngress) || (v >= kFirstWellKnown && v <= kLastWellKnown) ||
         (v >= kFirstUserReserved && v < identity::kFirstAllocated);
}

// The cluster bits of an allocated identity must be the sender's; reserved identities carry none. An allocated number
// without cluster bits is local to one cluster, or a scoped identity truncated to 24 bits.
Refusal validate_vni(const DecisionInput& in, Vni vni, ClusterId cluster) noexcept {
  if (vni.value() == identity::kHost.value()) {
    return DropReason::kVniHost;
  }
  if (vni.value() < identity::kFirstAllocated) {
    return reserved_on_wire(vni) ? Refusal{} : DropReason::kVniScoped;
  }
  const ClusterId named = in.tables.options.cluster_bits.cluster_of(vni);
  if (named == kNoCluster) {
    return DropReason::kVniScoped;
  }
  return named == cluster ? Refusal{} : DropReason::kVniCluster;
}

// Whether the source of an existing connection was a published endpoint and has been removed. Does not apply to ICMP
// errors, which any node on the path may send.
bool source_removed(const DecisionInput& in, const Decision& decision) noexcept {
  const Connection* connection = in.facts.connection;
  return connection != nullptr && !decision.source.published && !in.facts.icmp_error &&
         (connection->shared.user_flags() & published_flag(decision.direction)) != 0;
}

// Accepts the VNI of an unpublished source until the hold time, counted from its first packet, has passed.
Refusal accept_unpublished(const DecisionInput& in, Decision& decision) noexcept {
  const FlowKey& key = in.facts.key;
  UnknownSources* seen = in.caches.unknown_sources;
  const Seconds since = seen != nullptr
                            ? seen->since(decision.source.cluster, address_hash(key.realm, key.source()), in.facts.now)
                            : in.facts.now;
  const std::uint32_t until = since.value() + in.tables.options.unknown_endpoint_hold.value();
  if (in.facts.now.value() >= until) {
    return DropReason::kUnknownSource;
  }
  decision.valid_until = Seconds{until};
  decision.source_identity = Identity{in.facts.origin.vni().value()};
  return std::nullopt;
}

// World and remote node are resolved by the inner source, as in Cilium, and so are ICMP errors, which any node may
// send; but not what an endpoint itself says of a connection that we do not know.
bool resolved_by_source(const PacketFacts& facts) noexcept {
  const std::uint32_t vni = facts.origin.vni().value();
  const bool of_itself = facts.connection == nullptr && facts.reporter == facts.key.source();
  return (facts.icmp_error && !of_itself) || vni == identity::kWorld.value() || vni == identity::kRemoteNode.value();
}

Refusal check_identity(const DecisionInput& in, Decision& decision) noexcept {
  const PacketFacts& facts = in.facts;
  const End& source = decision.source;
  const Identity claimed{facts.origin.vni().value()};
  decision.source_identity = source.identity;
  if (source.published && in.caches.unknown_sources != nullptr) {
    in.caches.unknown_sources->forget(source.cluster, address_hash(facts.key.realm, facts.key.source()));
  }
  if (resolved_by_source(facts)) {
    return std::nullopt;
  }
  if (!source.published) {
    return identity::is_unlabelled_prefix(source.identity) ? std::nullopt : accept_unpublished(in, decision);
  }
  if (claimed.value() < identity::kFirstAllocated || claimed == source.identity ||
      identity::is_unlabelled(source.identity) || identity::is_local(source.identity)) {
    return std::nullopt;
  }
  if (claimed == source.previous && facts.now < source.grace_until) {
    decision.valid_until = source.grace_until;
    return std::nullopt;
  }
  return DropReason::kIdentityMismatch;
}

Refusal validate_fabric_source(const DecisionInput& in, Decision& decision) noexcept {
  const Origin origin = in.facts.origin;
  depend_on_peer(in, decision, origin.peer());
  const PeerRecord& peer = (*in.snapshot.peers)[origin.peer()];
  if (!peer.known()) {
    return DropReason::kUnknownPeer;
  }
  if (const Refusal refusal = validate_vni(in, origin.vni(), peer.cluster)) {
    return refusal;
  }
  if (decision.dsr && decision.direction == Direction::kForward) [[unlikely]] {
    if (const Refusal refusal = check_dsr_sender(in, decision, peer)) {
      return refusal;
    }
  } else if (decision.source.cluster != peer.cluster) {
    return DropReason::kSourceOutsideCluster;
  }
  return source_removed(in, decision) ? DropReason::kSourceRemoved : check_identity(in, decision);
}

Refusal validate_local_source(const DecisionInput& in, Decision& decision) noexcept {
  if (decision.source.cluster != in.tables.options.cluster &&
      !(in.facts.origin.on_underlay() && is_native(in, in.facts.key.source()))) {
    return DropReason::kForeignSource;
  }
  decision.source_identity = decision.source.identity;
  return source_removed(in, decision) ? Refusal{DropReason::kSourceRemoved} : std::nullopt;
}

}  // namespace

Refusal check_header(const EngineOptions& options, const FlowKey& key, Direction direction) noexcept {
  if (is_martian(key)) {
    return DropReason::kMartian;
  }
  const bool tunnel = key.protocol == IpProtocol::kUdp && direction == Direction::kForward &&
                      options.tunnel.is_port(L4Port{key.destination_port.host()});
  return tunnel ? Refusal{DropReason::kTunnelInTunnel} : std::nullopt;
}

Refusal validate_source(const DecisionInput& in, Decision& decision) noexcept {
  const FlowKey& key = in.facts.key;
  if (const Refusal refusal = check_header(in.tables.options, key, decision.direction)) {
    return refusal;
  }
  const Hints* hints = in.facts.hints;
  look_up(in, decision, key.source(), hints != nullptr ? hints->source_hash : address_hash(key.realm, key.source()),
          decision.source);
  return in.facts.origin.side() == Side::kFabric ? validate_fabric_source(in, decision)
                                                 : validate_local_source(in, decision);
}

// The node that the forward direction goes to, and nobody else. The VIP need not be in its cluster's prefixes.
Refusal validate_direct_answer(const DecisionInput& in, Decision& decision) noexcept {
  const PacketFacts& facts = in.facts;
  const ConnectionShared& shared = facts.connection->shared;
  if (facts.icmp_error) {
    return DropReason::kUnsupportedIcmp;
  }
  if (const Refusal refusal = check_header(in.tables.options, facts.key, Direction::kReply)) {
    return refusal;
  }
  if (facts.origin.side() != Side::kFabric) {
    return DropReason::kForeignSource;
  }
  depend_on_peer(in, decision, facts.origin.peer());
  const PeerRecord& peer = (*in.snapshot.peers)[facts.origin.peer()];
  if (!peer.known()) {
    return DropReason::kUnknownPeer;
  }
  const bool to_it = shared.from == Side::kFabric
                         ? shared.exit.load(std::memory_order_relaxed) == exit_of(peer.underlay)
                         : shared.peer.load() == peer.underlay;
  if (!to_it) {
    return DropReason::kSourceOutsideCluster;
  }
  if (!(*in.snapshot.clusters)[peer.cluster].linked) {
    return DropReason::kNotLinked;
  }
  decision.source.cluster = peer.cluster;
  decision.source_identity = decision.source.identity = Identity{facts.origin.vni().value()};
  return validate_vni(in, facts.origin.vni(), peer.cluster);
}

Vni wire_vni(Identity id) noexcept {
  constexpr std::uint32_t kWireBits = 24;
  if (id == identity::kHost) {
    return Vni{identity::kRemoteNode.value()};
  }
  if (id == identity::kWorldIpv4 || id == identity::kWorldIpv6 || id.value() >> kWireBits != 0 ||
      id == identity::kUnknown) {
    return Vni{identity::kWorld.value()};
  }
  return Vni{id.value()};
}

}  // namespace isthmus
