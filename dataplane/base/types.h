// Basic types shared by every layer. Host byte order.
#pragma once

#include <cstdint>

#include "dataplane/base/strong.h"

namespace isthmus {

// Address space (like a VRF), part of every key next to the address. Always 0 today; reserved for overlapping clusters.
using Realm = Strong<struct RealmTag, std::uint16_t>;
// 1..255 (or 511); 0 is "no cluster".
using ClusterId = Strong<struct ClusterIdTag, std::uint16_t>;
// Security identity: 24 bits on the wire (Cilium's numbering), 32 in tables.
using Identity = Strong<struct IdentityTag, std::uint32_t>;
// VXLAN network identifier, 24 bits: carries the source identity.
using Vni = Strong<struct VniTag, std::uint32_t>;
// Index of a remote tunnel end in the peer table; stable while the peer exists. 0 is "no peer".
using PeerId = Strong<struct PeerIdTag, std::uint32_t>;
// Index in the adjacency table (next hop: device and MAC). 0 is "none".
using AdjacencyId = Strong<struct AdjacencyIdTag, std::uint32_t>;
// A global service (namespace/name), assigned by control; 0 is "no service".
using ServiceId = Strong<struct ServiceIdTag, std::uint32_t>;
// One backend (address and L4 port) of one service, assigned by control and never re-used while referenced.
using BackendId = Strong<struct BackendIdTag, std::uint32_t>;
using DeviceId = Strong<struct DeviceIdTag, std::uint8_t>;
using WorkerId = Strong<struct WorkerIdTag, std::uint8_t>;
using L4Port = Strong<struct L4PortTag, std::uint16_t>;
using Nanoseconds = Strong<struct NanosecondsTag, std::uint64_t>;
using Seconds = Strong<struct SecondsTag, std::uint32_t>;
using Bytes = Strong<struct BytesTag, std::uint32_t>;

enum class Family : std::uint8_t { kIpv4 = 4, kIpv6 = 6 };
enum class EtherType : std::uint16_t { kIpv4 = 0x0800, kIpv6 = 0x86dd };
enum class IpProtocol : std::uint8_t {
  kHopByHop = 0,
  kIcmp = 1,
  kTcp = 6,
  kUdp = 17,
  kDccp = 33,
  kRouting = 43,
  kIpv6Fragment = 44,
  kGre = 47,
  kEsp = 50,
  kAuthentication = 51,
  kIcmpv6 = 58,
  kDestinationOptions = 60,
  kSctp = 132,
  kUdpLite = 136
};

[[nodiscard]] constexpr bool is_icmp(IpProtocol protocol) noexcept {
  return protocol == IpProtocol::kIcmp || protocol == IpProtocol::kIcmpv6;
}
// Whether its header begins with a source and a destination port by which connections, policy and services tell apart.
[[nodiscard]] constexpr bool has_ports(IpProtocol protocol) noexcept {
  return protocol == IpProtocol::kTcp || protocol == IpProtocol::kUdp || protocol == IpProtocol::kSctp;
}

// Side of the gateway: kFabric is tunnelled from or to another cluster, kLocal is this cluster.
enum class Side : std::uint8_t { kLocal = 0, kFabric = 1 };

inline constexpr ClusterId kNoCluster{0};
inline constexpr PeerId kNoPeer{0};
inline constexpr AdjacencyId kNoAdjacency{0};
inline constexpr ServiceId kNoService{0};

// Reserved identities (Cilium's numbering).
namespace identity {
inline constexpr Identity kUnknown{0};
inline constexpr Identity kHost{1};
inline constexpr Identity kWorld{2};
inline constexpr Identity kHealth{4};
inline constexpr Identity kRemoteNode{6};
inline constexpr Identity kKubeApiserver{7};
inline constexpr Identity kWorldIpv4{9};
inline constexpr Identity kWorldIpv6{10};
inline constexpr std::uint32_t kFirstAllocated = 256;
}  // namespace identity

// Position of the cluster id in a 24-bit identity: 255 clusters with a shift of 16, 511 with a shift of 15.
struct ClusterBits {
  std::uint8_t shift = 16;
  [[nodiscard]] constexpr ClusterId cluster_of(Vni vni) const noexcept {
    return ClusterId{static_cast<std::uint16_t>(vni.value() >> shift)};
  }
};

}  // namespace isthmus
