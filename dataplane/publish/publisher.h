// The publisher: the control side of the tables. Applies deltas, builds the parts that changed, swaps the snapshot
// pointer, then increments the epoch words of what changed, and frees snapshots that no worker uses any more.
// Thread: control only. Cost: the changed parts. Frontends and policy subjects are in 256 shards each, peers and
// prefixes in blocks and pieces of some dozens, so that a change of one makes one of these anew; a cluster's record is
// made anew with its gateways, and local routes all together.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "dataplane/publish/host_rule_lists.h"
#include "dataplane/publish/shared_state.h"
#include "dataplane/publish/steer_ledger.h"
#include "dataplane/tables/prefix_ranges.h"

namespace isthmus {

// The peer table of a gateway with these tunnel ends.
[[nodiscard]] std::shared_ptr<const PeerTable> build_peers(const std::vector<PeerEntry>& peers, const TunnelEnds& own);

class Publisher {
 public:
  // `shared` outlives the publisher.
  explicit Publisher(SharedState& shared);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  [[nodiscard]] Status apply(const TableDelta& delta);
  [[nodiscard]] AdjacencyId claim_next_hop(DeviceId device, const IpAddress& address);
  void upsert_endpoints(std::span<const EndpointEntry> endpoints, Seconds now);
  void remove_endpoints(Realm realm, std::span<const IpAddress> addresses);
  // Endpoints since start for which the table had no room: it does not know them.
  [[nodiscard]] std::uint64_t endpoints_refused() const noexcept { return endpoints_refused_; }
  // What the devices' kernel programs must redirect to the engine, according to the published tables.
  [[nodiscard]] SteerRules steer_rules() const;
  // What has changed of them since the last call.
  [[nodiscard]] SteerChange take_steer_change() { return std::exchange(untaken_, {}); }
  // The words of all addresses in the prefixes.
  void move_words_of(const std::vector<Prefix>& prefixes);
  // The published one; nullptr before the first. For control.
  [[nodiscard]] const Snapshot* current() const noexcept { return current_.get(); }
  // Frees snapshots whose grace period is over; apply() does it too.
  void reclaim();

 private:
  [[nodiscard]] Status check(const TableDelta& delta) const;
  [[nodiscard]] Status check_policy(const TableDelta& delta) const;
  void apply_frontends(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved);
  // Counts the backends of a frontend that comes or goes; notes the shards of `backends_` whose keys have changed.
  void count_backends(const FrontendEntry& frontend, int by, const AliasTable& aliases, std::set<std::size_t>& shards,
                      std::vector<EpochIndex>& moved);
  // Returns those that have come, changed or gone.
  std::set<PeerId> apply_peers(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved);
  void apply_path_mtus(const TableDelta& delta, const std::set<PeerId>& new_peers, Snapshot& next,
                       std::vector<EpochIndex>& moved);
  void apply_clusters(const TableDelta& delta, const std::set<PeerId>& new_peers, Snapshot& next,
                      std::vector<EpochIndex>& moved, bool& everything);
  [[nodiscard]] std::map<ClusterId, const ClusterEntry*> changed_clusters(const TableDelta& delta) const;
  [[nodiscard]] std::shared_ptr<const ClusterTable> cluster_table(const std::set<ClusterId>& records,
                                                                  const Snapshot& next);
  static void move_cluster(const ClusterEntry& before, const ClusterEntry& after, std::vector<EpochIndex>& moved,
                           bool& everything);
  // Adds the prefixes of `now` that `before` has not, and drops those that only `before` has; either may be null. Adds
  // both to `changed`.
  void move_prefixes(const ClusterEntry* before, const ClusterEntry* now, std::vector<Prefix>& changed);
  void apply_aliases(const AliasPrefixes& aliases, Snapshot& next, bool& everything);
  void apply_hosts(const HostPrefixes& hosts);
  void apply_routes(const TableDelta& delta, Snapshot& next, bool& everything);
  void follow_steer(Snapshot& next);
  [[nodiscard]] bool apply_cidrs(const TableDelta& delta);
  void apply_policy(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved, bool& everything);

  SharedState& shared_;
  std::map<PeerId, PeerEntry> peers_;
  std::map<PeerId, PathMtu> path_mtus_;  // of those of them that have one
  std::map<ClusterId, ClusterEntry> clusters_;
  PrefixRanges cluster_prefixes_;  // with the ids of their clusters
  AliasPrefixes aliases_;
  HostPrefixes hosts_;
  std::vector<LocalRoute> routes_;
  PrefixRanges cidrs_;  // with their identities
  SteerLedger steer_;
  SteerChange untaken_;  // since the last take_steer_change()
  HostRuleLists host_rules_;
  SourceMaps source_maps_;
  std::array<std::map<BackendKey, unsigned>, Snapshot::kShards> backends_;  // in how many frontends each is
  std::uint64_t endpoints_refused_ = 0;
  std::unique_ptr<const Snapshot> current_;
  std::vector<std::pair<std::unique_ptr<const Snapshot>, std::uint64_t>> retired_;
};

}  // namespace isthmus
