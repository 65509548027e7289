// Options of the etcd source. The defaults are those of ClusterMesh's own readers. Plain values.
// Times that have no configuration key are changed by tests only.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "config/model/defaults.h"
#include "dataplane/api/encapsulation.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct EtcdSourceOptions {
  using Milliseconds = std::chrono::milliseconds;

  std::string own_cluster;
  ClusterId own_id;
  std::string own_gateway;  // reserved: no other gateway gets this name; may be empty
  // A folder with one etcd client configuration per remote cluster, named after the cluster; other files are ignored.
  // Empty: none.
  std::string folder;
  // The client configuration file of a KVStoreMesh hub. Empty: none.
  std::string kvstoremesh;
  unsigned max_connected_clusters = kDefaultMaxClusters;
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;  // of all clusters' nodes
  bool prefer_slices = false;  // for clusters that publish both slices and Services' backends
  std::string gateway_service{kDefaultGatewayService};

  // When a new list lacks more than this percentage of the objects in force, and at least ten, they are retained for
  // hold_time before they are removed. 0 and 100 disable this.
  unsigned hold_percent = kDefaultEtcdHoldPercent;
  Milliseconds hold_time{kDefaultEtcdHoldMs};

  Milliseconds folder_period{1000};         // interval of scans of the folder
  Milliseconds missing_file_period{5000};   // interval of retries while certificates cannot be read
  Milliseconds heartbeat_timeout{120'000};  // without a heartbeat for so long, reconnect
  Milliseconds status_period{30'000};       // interval of heartbeat checks
  Milliseconds backoff_step{1000};          // wait n steps after the n-th consecutive failure
  Milliseconds max_backoff{60'000};
  Milliseconds call_timeout{60'000};
  Milliseconds keepalive_time{15'000}, keepalive_timeout{25'000};
  Milliseconds list_backoff{50}, max_list_backoff{60'000};
  Milliseconds cluster_debounce{200};                      // node changes are coalesced into one cluster change
  Milliseconds sync_timeout{60'000};                       // the source counts as synced after it in any case
  std::int64_t list_page = 256;                            // keys of the first page; later pages grow
  unsigned reads_per_second = kDefaultEtcdReadsPerSecond;  // pages of lists per cluster; 0: unlimited

  [[nodiscard]] bool retains() const { return hold_percent > 0 && hold_percent < 100; }
};

}  // namespace isthmus
