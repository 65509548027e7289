// vet: the outer source is a peer of the cluster that the VNI names, the inner source lies in that cluster, and the VNI
// is the identity of that source (or was, for a bounded grace; or, not being known yet, holds for a bounded time). From
// the local side the source must be this cluster's. A connection whose source has been an endpoint ends with it.
// Of an endpoint that is known without labels nobody can tell whether the VNI is its own: any of its cluster's passes,
// and none is believed; so with every address of a cluster of which no labels are known. Policy goes by the address,
// as it does for the packets that go there.
// Without encryption this stops mistakes and off-path spoofing, not an attacker on the underlay.
#include "dataplane/api/identity.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/path/admission.h"

namespace isthmus {
namespace {

bool is_martian(const FlowKey& key) noexcept {
  const auto unusable = [](const IpAddress& a) noexcept {
    constexpr std::uint8_t kLoopback = 127;
    return a.is_unspecified() || a.is_multicast() ||
           (a.is_ipv4() ? a.bytes()[12] == kLoopback
                        : a == IpAddress(IpAddress::ByteArray{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
  };
  return key.source == key.destination || unusable(key.source) || unusable(key.destination);
}

// Reserved identities that senders put on the wire: world, unmanaged, health, init, remote node, kube-apiserver,
// ingress, the well-known ones, and those that users reserve.
constexpr bool reserved_on_wire(Vni vni) noexcept {
  constexpr std::uint32_t kIngress = 8, kFirstWellKnown = 100, kLastWellKnown = 115, kFirstUserReserved = 128;
  const std::uint32_t v = vni.value();
  return (v >= identity::kWorld.value() && v <= kIngress) || (v >= kFirstWellKnown && v <= kLastWellKnown) ||
         (v >= kFirstUserReserved && v < identity::kFirstAllocated);
}

// The cluster bits of an allocated identity must be the sender's; the reserved ones carry none. An allocated number
// without a cluster is a cluster's own affair, or a scoped identity cut to 24 bits.
Refusal vet_vni(const PathContext& context, Vni vni, ClusterId cluster) noexcept {
  if (vni.value() == identity::kHost.value()) {
    return DropReason::k_vni_host;
  }
  if (vni.value() < identity::kFirstAllocated) {
    return reserved_on_wire(vni) ? Refusal{} : DropReason::k_vni_scoped;
  }
  const ClusterId named = context.shared.options.cluster_bits.cluster_of(vni);
  if (named == kNoCluster) {
    return DropReason::k_vni_scoped;
  }
  return named == cluster ? Refusal{} : DropReason::k_vni_cluster;
}

// Has the source of an existing connection been a published endpoint, and is none now? Errors come from whoever
// noticed.
bool source_gone(const Admission& admission) noexcept {
  return admission.existing && !admission.source_known && !admission.packet.icmp_error &&
         (admission.packet.hit.shared().user_flags.load(std::memory_order_relaxed) & known_flag(admission.direction)) !=
             0;
}

// A VNI whose source nobody has published holds for a while from when it was first seen.
Refusal hold_unknown(PathContext& context, Admission& admission) noexcept {
  const auto hash = address_hash(admission.own().realm, admission.own().source) | 1;
  const Seconds since = context.unknown_sources.since(hash, context.now);
  const std::uint32_t until = since.value() + context.shared.options.unknown_endpoint_hold.value();
  if (context.now.value() >= until) {
    return DropReason::k_unknown_source;
  }
  admission.block.valid_until = Seconds{until};
  admission.source_identity = Identity{admission.packet.vni.value()};
  return std::nullopt;
}

Refusal vet_fabric(PathContext& context, Admission& admission) noexcept {
  const Packet& packet = admission.packet;
  const PeerRecord& peer = (*context.snapshot->peers)[packet.peer];
  if (!peer.known()) {
    return DropReason::k_unknown_peer;
  }
  admission.source_cluster = peer.cluster;
  if (const auto refusal = vet_vni(context, packet.vni, peer.cluster)) {
    return refusal;
  }
  const FlowKey& key = admission.own();
  if (context.snapshot->clusters->cluster_of(key.realm, key.source) != peer.cluster) {
    return DropReason::k_source_outside_cluster;
  }
  EndpointInfo endpoint;
  admission.source_known = context.shared.endpoints.find(key.realm, key.source, endpoint);
  if (source_gone(admission)) {
    return DropReason::k_source_gone;
  }
  const bool allocated = packet.vni.value() >= identity::kFirstAllocated;
  if (packet.icmp_error || !allocated) {
    // Reserved identities are resolved by the inner source, as Cilium does; errors come from whoever noticed.
    const Identity said{packet.vni.value()};
    const Identity unpublished =
        said == identity::kWorld ? context.snapshot->policy->by_prefix(key.realm, key.source, said) : said;
    admission.source_identity = admission.source_known ? endpoint.identity : unpublished;
    return std::nullopt;
  }
  if (!admission.source_known) {
    const Identity at = context.snapshot->policy->by_prefix(key.realm, key.source, identity::kWorld);
    if (identity::is_unlabelled_prefix(at)) {
      admission.source_identity = at;
      return std::nullopt;
    }
    return hold_unknown(context, admission);
  }
  context.unknown_sources.forget(address_hash(key.realm, key.source) | 1);
  admission.source_identity = endpoint.identity;
  if (endpoint.identity.value() == packet.vni.value() || identity::is_unlabelled(endpoint.identity)) {
    return std::nullopt;
  }
  if (endpoint.previous.value() == packet.vni.value() && context.now < endpoint.grace_until) {
    admission.block.valid_until = endpoint.grace_until;
    return std::nullopt;
  }
  return DropReason::k_identity_mismatch;
}

Refusal vet_local(PathContext& context, Admission& admission) noexcept {
  const FlowKey& key = admission.own();
  admission.source_cluster = context.snapshot->clusters->cluster_of(key.realm, key.source);
  if (admission.source_cluster != context.shared.options.cluster) {
    return DropReason::k_foreign_source;
  }
  EndpointInfo endpoint;
  admission.source_known = context.shared.endpoints.find(key.realm, key.source, endpoint);
  if (source_gone(admission)) {
    return DropReason::k_source_gone;
  }
  admission.source_identity = admission.source_known
                                  ? endpoint.identity
                                  : context.snapshot->policy->by_prefix(key.realm, key.source, identity::kWorld);
  return std::nullopt;
}

}  // namespace

Refusal vet(PathContext& context, Admission& admission) noexcept {
  const FlowKey& key = admission.own();
  if (is_martian(key)) {
    return DropReason::k_martian;
  }
  if (key.protocol == IpProtocol::kUdp && key.destination_port.host() == context.shared.options.tunnel_port.value() &&
      admission.direction == Direction::kForward) {
    return DropReason::k_tunnel_in_tunnel;
  }
  context.shared.flows->epochs().sample(admission.block, kSourcePlace, EpochTable::of_endpoint(key.realm, key.source));
  return admission.packet.side == Side::kFabric ? vet_fabric(context, admission) : vet_local(context, admission);
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
