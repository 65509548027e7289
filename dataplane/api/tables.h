// Input from control to the engine: plain values, deltas of the desired state. The engine builds its own immutable
// tables from them. Thread: control only. Arguments may be destroyed when the call returns; shared_ptr contents are
// shared and must not change afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/api/encapsulation.h"
#include "dataplane/api/maglev.h"
#include "dataplane/api/policy.h"
#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/types.h"
#include "dataplane/net/alias_prefix.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

// A tunnel end other than ours. What it announces is how it wants to be reached, so packets to it and from it may be of
// different kinds: those from it are as we announce.
struct PeerEntry {
  PeerId id;  // >= 1, assigned by control, dense, never re-used for another address while referenced
  ClusterId cluster;
  IpAddress underlay;
  L4Port udp_port{8472};
  AdjacencyId adjacency;  // next hop towards `underlay`
  bool gateway = false;   // false: a node, used as a sender or as the tunnel end of its own endpoints only
  EncapsulationKind kind = EncapsulationKind::kVxlan;       // of packets to it; not kNone: such prefixes are routes
  EncapsulationKind from_kind = EncapsulationKind::kVxlan;  // of packets from it; others are dropped
  friend bool operator==(const PeerEntry&, const PeerEntry&) = default;
};

// The longest IP packet that the underlay carries to a peer, where that is less than the underlay device takes; what
// control has learned, and learned anew where the peer's address changes.
struct PathMtu {
  PeerId peer;
  Bytes mtu;  // 0: as the device
  friend bool operator==(const PathMtu&, const PathMtu&) = default;
};

struct ClusterEntry {
  ClusterId id;
  bool local = false;
  bool linked = false;           // a network profile allows traffic between it and our cluster; true for our own
  std::vector<Prefix> prefixes;  // address ranges of its pods and nodes; aliases where it has some
  std::vector<PeerId> gateways;  // live ones, eligible for new flows; sorted by id
  std::vector<PeerId> left{};    // drained ones, which forward what still goes through them; sorted by id
  friend bool operator==(const ClusterEntry&, const ClusterEntry&) = default;
};

struct BackendEntry {
  BackendId id;
  IpAddress address;  // as our own cluster has it, where it is ours
  L4Port port;
  ClusterId cluster;
  friend bool operator==(const BackendEntry&, const BackendEntry&) = default;
};

// The backends of one frontend. `backends` lists all of them, including draining ones, which keep their established
// flows. `ring` is the Maglev table of indexes into `backends`; its size is a prime, or 0 if no backend takes new
// flows.
struct BackendSet {
  HugePageVector<BackendEntry> backends;
  MaglevRing ring;
};

struct FrontendKey {
  Realm realm;
  IpAddress vip;
  IpProtocol protocol = IpProtocol::kTcp;
  L4Port port;
  friend auto operator<=>(const FrontendKey&, const FrontendKey&) = default;
};

// Which clients a frontend serves, by their addresses: those that their own cluster knows, or those that others do.
struct SourceRanges {
  std::vector<Prefix> prefixes;
  bool denied = false;  // these are refused, and all others are served
  friend bool operator==(const SourceRanges&, const SourceRanges&) = default;
};

struct FrontendEntry {
  FrontendKey key;
  ServiceId service;
  bool client_affinity = false;                // sessionAffinity ClientIP: the client's L4 port is not hashed
  Seconds affinity_timeout{10800};             // how long a client with it keeps its backend after its last use
  std::shared_ptr<const BackendSet> backends;  // never null
  // What clients of other clusters get whose packets come to us undecided: the same backends, with another ring. Null:
  // as all clients.
  std::shared_ptr<const BackendSet> from_fabric{};
  std::shared_ptr<const SourceRanges> sources{};  // null: every client is served
  bool watched = false;  // how connections to its backends open is told to control (openings.h)
};

// Route to addresses of this cluster, or of one that the underlay reaches without a tunnel. The longest prefix wins.
struct LocalRoute {
  Prefix prefix;
  DeviceId device;
  AdjacencyId next_hop;   // kNoAdjacency: on-link, the destination itself is the neighbour
  PeerId peer = kNoPeer;  // a node of this cluster: its pods are reached in its tunnel, which also carries the identity
  bool native = false;    // addresses of another cluster, by the underlay device
  friend bool operator==(const LocalRoute&, const LocalRoute&) = default;
};

// Endpoints that are in no prefix of their cluster, merged: what steering takes for their sake. The engine itself finds
// them in the endpoint table.
struct HostPrefixes {
  std::vector<Prefix> local, fleet;  // of our own cluster; of the others
};

// Changes that take effect together. An absent optional leaves its part unchanged.
struct TableDelta {
  std::vector<PeerEntry> upsert_peers;
  std::vector<PeerId> remove_peers;
  std::vector<PathMtu> path_mtus;                       // that have changed; those of unknown peers are left out
  std::optional<std::vector<ClusterEntry>> clusters;    // whole list
  std::vector<ClusterEntry> changed_clusters;           // of known ids; none where there is the whole list
  std::optional<AliasPrefixes> aliases;                 // of our own cluster; whole list
  std::optional<HostPrefixes> hosts;                    // whole lists
  std::optional<std::vector<LocalRoute>> local_routes;  // whole list
  std::vector<FrontendEntry> upsert_frontends;
  std::vector<FrontendKey> remove_frontends;
  std::vector<SelectorEntry> upsert_selectors;
  std::vector<SelectorId> remove_selectors;
  std::vector<std::shared_ptr<const SubjectPolicy>> upsert_policies;  // never null
  std::vector<Identity> remove_policies;                              // subjects
  std::vector<Identity> affected_subjects;  // policy unchanged, but the contents of its selectors changed
  std::vector<Receiver> upsert_receivers, remove_receivers;  // by address and identity
  std::optional<PolicyDefaults> policy_defaults;
  std::optional<std::vector<CidrIdentity>> cidr_identities;  // whole list
  // What has changed of the list; none where there is the whole list.
  std::vector<CidrIdentity> upsert_cidrs;
  std::vector<Prefix> remove_cidrs;
  [[nodiscard]] bool empty() const {
    return upsert_peers.empty() && remove_peers.empty() && path_mtus.empty() && !clusters && changed_clusters.empty() &&
           !aliases && !hosts && !local_routes && upsert_frontends.empty() && remove_frontends.empty() &&
           upsert_selectors.empty() && remove_selectors.empty() && upsert_policies.empty() && remove_policies.empty() &&
           affected_subjects.empty() && upsert_receivers.empty() && remove_receivers.empty() && !policy_defaults &&
           !cidr_identities && upsert_cidrs.empty() && remove_cidrs.empty();
  }
};

// A pod, VM or node address. Updated in place, outside TableDelta, because endpoints change often.
struct EndpointEntry {
  Realm realm;
  IpAddress address;
  ClusterId cluster;
  Identity identity;
  PeerId node;  // its node, if that is the tunnel end; kNoPeer: reached through a gateway of its cluster
  friend bool operator==(const EndpointEntry&, const EndpointEntry&) = default;
};

}  // namespace isthmus
