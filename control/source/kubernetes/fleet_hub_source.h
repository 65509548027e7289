// An Azure Fleet hub (hub-and-spoke endpoint sync) as a source: the exports of every member cluster. Needs get, list
// and watch on endpointsliceexports, internalserviceexports, serviceimports (networking.fleet.azure.com),
// memberclusters and internalmemberclusters (cluster.kubernetes-fleet.io); no write access. See api_source.h for
// threads and failure, fleet_hub_objects.h for which exports count.
#pragma once

#include <chrono>
#include <string>

#include "control/source/kubernetes/api_source.h"

namespace isthmus {

struct FleetHubSourceOptions {
  ApiServerOptions server;
  std::string own_cluster;  // its exports are skipped, as its own API server is watched; empty: none
  std::chrono::milliseconds blank_retention{10'000};
  unsigned heartbeats_missed = 5;
};

class FleetHubSource final : public ApiSource {
 public:
  explicit FleetHubSource(const FleetHubSourceOptions& options);
};

}  // namespace isthmus
