// What control tells the engine: plain values, deltas of desired state. The engine builds its own immutable tables.
// Thread: control only. Everything may be destroyed after the call that took it returns, except shared_ptr contents,
// which are immutable from then on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/api/maglev.h"
#include "dataplane/api/policy.h"
#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

// A tunnel end other than ours.
struct PeerEntry {
  PeerId id;  // >= 1, chosen by control, dense, never re-used for another address while referenced
  ClusterId cluster;
  IpAddress underlay;
  L4Port udp_port{8472};
  AdjacencyId adjacency;  // next hop towards `underlay`
  bool gateway = false;   // false: a node, which may only be a sender or an endpoint's own tunnel end
  friend bool operator==(const PeerEntry&, const PeerEntry&) = default;
};

struct ClusterEntry {
  ClusterId id;
  bool local = false;
  bool linked = false;           // a cross-cluster network profile links it with ours; true for our own
  std::vector<Prefix> prefixes;  // pods, nodes: sources and destinations that belong to it
  std::vector<PeerId> gateways;  // those that may be chosen for new flows (live ones), sorted by id
  friend bool operator==(const ClusterEntry&, const ClusterEntry&) = default;
};

struct BackendEntry {
  BackendId id;
  IpAddress address;
  L4Port port;
  ClusterId cluster;
  friend bool operator==(const BackendEntry&, const BackendEntry&) = default;
};

// The backends of one frontend. `backends` lists all that stand (also draining ones, which keep their established
// flows); `ring` is the Maglev table: indexes into `backends`, its size a prime or 0 when no backend takes new flows.
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

struct FrontendEntry {
  FrontendKey key;
  ServiceId service;
  bool client_affinity = false;                // sessionAffinity ClientIP: the client's L4 port is left out of the hash
  std::shared_ptr<const BackendSet> backends;  // never null
};

// How packets reach this cluster's own addresses. The longest prefix wins.
struct LocalRoute {
  Prefix prefix;
  DeviceId device;
  AdjacencyId next_hop;  // kNoAdjacency: on-link, one neighbour per address, found by find-or-ask
  friend bool operator==(const LocalRoute&, const LocalRoute&) = default;
};

// Changes that take effect together. An absent optional leaves that part as it is.
struct TableDelta {
  std::vector<PeerEntry> upsert_peers;
  std::vector<PeerId> remove_peers;
  std::optional<std::vector<ClusterEntry>> clusters;    // whole list
  std::optional<std::vector<LocalRoute>> local_routes;  // whole list
  std::vector<FrontendEntry> upsert_frontends;
  std::vector<FrontendKey> remove_frontends;
  std::vector<SelectorEntry> upsert_selectors;
  std::vector<SelectorId> remove_selectors;
  std::vector<std::shared_ptr<const SubjectPolicy>> upsert_policies;  // never null
  std::vector<Identity> remove_policies;                              // subjects
  std::vector<Identity> moved_subjects;  // subjects whose policy is the same, but chooses other peers by its selectors
  std::optional<PolicyDefaults> policy_defaults;
  std::optional<std::vector<CidrIdentity>> cidr_identities;  // whole list
  [[nodiscard]] bool empty() const {
    return upsert_peers.empty() && remove_peers.empty() && !clusters && !local_routes && upsert_frontends.empty() &&
           remove_frontends.empty() && upsert_selectors.empty() && remove_selectors.empty() &&
           upsert_policies.empty() && remove_policies.empty() && moved_subjects.empty() && !policy_defaults &&
           !cidr_identities;
  }
};

// A pod, VM or node address. Changed in place, outside TableDelta, at any rate.
struct EndpointEntry {
  Realm realm;
  IpAddress address;
  ClusterId cluster;
  Identity identity;
  PeerId node;  // its own node as tunnel end; kNoPeer: through one of its cluster's gateways
  friend bool operator==(const EndpointEntry&, const EndpointEntry&) = default;
};

}  // namespace isthmus
