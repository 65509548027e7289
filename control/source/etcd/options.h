// What the etcd source is told, with the numbers that ClusterMesh's own readers use. Plain values.
// Tests shorten the times; nothing else should need to.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "dataplane/api/types.h"

namespace isthmus {

struct EtcdSourceOptions {
  using Milliseconds = std::chrono::milliseconds;

  std::string own_cluster;
  ClusterId own_id;
  std::string own_gateway;  // a name that no other gateway is given; may be empty
  // One etcd client configuration per remote cluster, named as the cluster; other files in it are not read. Empty:
  // none.
  std::string folder;
  // One client configuration of a KVStoreMesh hub, whose clusters are those it has a configuration of. Empty: none.
  std::string kvstoremesh;
  unsigned max_connected_clusters = 255;  // or 511
  bool prefer_slices = false;             // where a cluster publishes both
  std::string gateway_service = "kube-system/isthmus-gateway";

  // When a new list lacks more than so many percent of what was there (and at least ten), it is not believed for
  // hold_time. 0 and 100 turn this off.
  unsigned hold_percent = 50;
  Milliseconds hold_time{std::chrono::minutes(10)};

  Milliseconds folder_period{1000};        // the folder is looked at so often
  Milliseconds missing_file_period{5000};  // certificates that are not there are looked for so often
  Milliseconds heartbeat_limit{120'000};   // silence after which a connection is given up
  Milliseconds status_period{30'000};      // how often that is checked
  Milliseconds backoff_step{1000};         // the n-th failure in a row is followed by a wait of n steps
  Milliseconds longest_backoff{60'000};
  Milliseconds call_timeout{60'000};
  Milliseconds keepalive_time{15'000}, keepalive_timeout{25'000};
  Milliseconds list_backoff{50}, longest_list_backoff{60'000};
  Milliseconds cluster_settle{200};   // changes of nodes within it become one change of their Cluster
  Milliseconds sync_timeout{60'000};  // the source counts as synced then, whatever has not answered
  std::int64_t list_page = 256;       // keys of the first page; further ones grow
  unsigned reads_per_second = 20;     // pages of each cluster's lists; 0: as many as the hub answers

  [[nodiscard]] bool holds() const { return hold_percent > 0 && hold_percent < 100; }
};

}  // namespace isthmus
