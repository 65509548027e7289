// The publisher: control's side of the tables. Applies deltas to what it holds, builds the parts that changed, swaps
// the snapshot pointer, then moves the epoch words of what changed, and frees what every worker has left behind.
// Thread: control only. Cost: the changed parts; frontends and policy subjects are in 256 shards each, so one costs one
// shard.
// Peers, clusters and routes are rebuilt whole when any of them changes: they change when a fleet changes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "dataplane/path/context.h"

namespace isthmus {

class Publisher {
 public:
  // `shared` outlives the publisher.
  explicit Publisher(SharedState& shared);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  [[nodiscard]] Status apply(const TableDelta& delta);
  void upsert_endpoints(std::span<const EndpointEntry> endpoints, Seconds now);
  void remove_endpoints(Realm realm, std::span<const IpAddress> addresses);
  // What the devices' kernel programs must hand over, by what is published now.
  [[nodiscard]] SteerRules steer_rules() const;
  // Frees what has passed its grace; also done by apply().
  void reclaim();

 private:
  [[nodiscard]] Status check(const TableDelta& delta) const;
  [[nodiscard]] Status check_policy(const TableDelta& delta) const;
  void apply_frontends(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved);
  bool apply_peers(const TableDelta& delta, std::vector<EpochIndex>& moved);
  bool apply_clusters(const TableDelta& delta, std::vector<EpochIndex>& moved, bool& everything);
  void apply_policy(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved, bool& everything) const;

  SharedState& shared_;
  std::map<PeerId, PeerEntry> peers_;
  std::vector<ClusterEntry> clusters_;
  std::vector<LocalRoute> routes_;
  std::multiset<IpAddress> vips_;
  std::unique_ptr<const Snapshot> current_;
  std::vector<std::pair<std::unique_ptr<const Snapshot>, std::uint64_t>> retired_;
};

}  // namespace isthmus
