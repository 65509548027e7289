// Source validation. From the fabric side: the outer source is a peer of the cluster that the VNI names, the inner
// source lies in that cluster's prefixes, and the VNI is the identity of that source. The source's previous identity is
// accepted for a bounded grace period; the VNI of a source that is not published yet is accepted for a bounded hold
// time. From the local side: the source lies in this cluster's prefixes. A connection whose source has been an endpoint
// ends when that endpoint is removed. For an endpoint published without labels the VNI cannot be checked: any VNI of
// its cluster passes, but the identity is taken from the address, as for packets sent to that address. The same holds
// for all addresses of a cluster whose labels are not known at all. Without encryption this stops mistakes and off-path
// spoofing, not an attacker on the underlay.
#include "dataplane/api/identity.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/slowpath/admission.h"

namespace isthmus {
namespace {

bool is_martian(const FlowKey& key) noexcept {
  const auto unusable = [](const IpAddress& a) noexcept {
    constexpr std::uint8_t kLoopback = 127;
    return a.is_unspecified() || a.is_multicast() ||
           (a.is_ipv4() ? a.bytes()[12] == kLoopback
                        : a == IpAddress(IpAddress::ByteArray{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
  };
  return key.source() == key.destination() || unusable(key.source()) || unusable(key.destination());
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
std::optional<DropReason> validate_vni(const SlowContext& context, Vni vni, ClusterId cluster) noexcept {
  if (vni.value() == identity::kHost.value()) {
    return DropReason::kVniHost;
  }
  if (vni.value() < identity::kFirstAllocated) {
    return reserved_on_wire(vni) ? std::optional<DropReason>{} : DropReason::kVniScoped;
  }
  const ClusterId named = context.shared.options.cluster_bits.cluster_of(vni);
  if (named == kNoCluster) {
    return DropReason::kVniScoped;
  }
  return named == cluster ? std::optional<DropReason>{} : DropReason::kVniCluster;
}

// Whether the source of an existing connection was a published endpoint and has been removed. Does not apply to ICMP
// errors, which any node on the path may send.
bool source_removed(const Admission& admission) noexcept {
  return admission.existing && !admission.source_published && !admission.packet.icmp_error &&
         (admission.hit.shared().user_flags.load(std::memory_order_relaxed) & published_flag(admission.direction)) != 0;
}

// Accepts the VNI of an unpublished source until the hold time, counted from its first packet, has passed.
std::optional<DropReason> accept_unpublished(SlowContext& context, Admission& admission) noexcept {
  const auto hash = address_hash(admission.own().realm, admission.own().source()) | 1;
  const Seconds since = context.unknown_sources.since(hash, context.now);
  const std::uint32_t until = since.value() + context.shared.options.unknown_endpoint_hold.value();
  if (context.now.value() >= until) {
    return DropReason::kUnknownSource;
  }
  admission.block.valid_until = Seconds{until};
  admission.source_identity = Identity{admission.packet.origin.vni().value()};
  return std::nullopt;
}

std::optional<DropReason> validate_fabric_source(SlowContext& context, Admission& admission) noexcept {
  const Packet& packet = admission.packet;
  const PeerRecord& peer = (*context.snapshot->peers)[packet.origin.peer()];
  if (!peer.known()) {
    return DropReason::kUnknownPeer;
  }
  admission.source_cluster = peer.cluster;
  if (const auto drop = validate_vni(context, packet.origin.vni(), peer.cluster)) {
    return drop;
  }
  const FlowKey& key = admission.own();
  if (context.snapshot->clusters->cluster_of(key.realm, key.source()) != peer.cluster) {
    return DropReason::kSourceOutsideCluster;
  }
  EndpointInfo endpoint;
  admission.source_published = context.shared.endpoints.find(key.realm, key.source(), endpoint);
  if (source_removed(admission)) {
    return DropReason::kSourceRemoved;
  }
  const bool allocated = packet.origin.vni().value() >= identity::kFirstAllocated;
  if (packet.icmp_error || !allocated) {
    // Reserved identities are resolved by the inner source, as in Cilium; so are ICMP errors, which any node may send.
    const Identity claimed{packet.origin.vni().value()};
    const Identity unpublished =
        claimed == identity::kWorld ? context.snapshot->policy->by_prefix(key.realm, key.source(), claimed) : claimed;
    admission.source_identity = admission.source_published ? endpoint.identity : unpublished;
    return std::nullopt;
  }
  if (!admission.source_published) {
    const Identity at = context.snapshot->policy->by_prefix(key.realm, key.source(), identity::kWorld);
    if (identity::is_unlabelled_prefix(at)) {
      admission.source_identity = at;
      return std::nullopt;
    }
    return accept_unpublished(context, admission);
  }
  context.unknown_sources.erase(address_hash(key.realm, key.source()) | 1);
  admission.source_identity = endpoint.identity;
  if (endpoint.identity.value() == packet.origin.vni().value() || identity::is_unlabelled(endpoint.identity)) {
    return std::nullopt;
  }
  if (endpoint.previous.value() == packet.origin.vni().value() && context.now < endpoint.grace_until) {
    admission.block.valid_until = endpoint.grace_until;
    return std::nullopt;
  }
  return DropReason::kIdentityMismatch;
}

std::optional<DropReason> validate_local_source(SlowContext& context, Admission& admission) noexcept {
  const FlowKey& key = admission.own();
  admission.source_cluster = context.snapshot->clusters->cluster_of(key.realm, key.source());
  if (admission.source_cluster != context.shared.options.cluster) {
    return DropReason::kForeignSource;
  }
  EndpointInfo endpoint;
  admission.source_published = context.shared.endpoints.find(key.realm, key.source(), endpoint);
  if (source_removed(admission)) {
    return DropReason::kSourceRemoved;
  }
  admission.source_identity = admission.source_published
                                  ? endpoint.identity
                                  : context.snapshot->policy->by_prefix(key.realm, key.source(), identity::kWorld);
  return std::nullopt;
}

}  // namespace

std::optional<DropReason> validate_source(SlowContext& context, Admission& admission) noexcept {
  const FlowKey& key = admission.own();
  if (is_martian(key)) {
    return DropReason::kMartian;
  }
  if (key.protocol == IpProtocol::kUdp && key.destination_port.host() == context.shared.options.tunnel_port.value() &&
      admission.direction == Direction::kForward) {
    return DropReason::kTunnelInTunnel;
  }
  context.shared.flows->epochs().sample(admission.block, kSourceEpoch,
                                        EpochTable::of_endpoint(key.realm, key.source()));
  return admission.packet.origin.side() == Side::kFabric ? validate_fabric_source(context, admission)
                                                         : validate_local_source(context, admission);
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
