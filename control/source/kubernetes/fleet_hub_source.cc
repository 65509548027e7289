#include "control/source/kubernetes/fleet_hub_source.h"

#include <memory>

#include "control/source/kubernetes/fleet_hub_objects.h"

namespace isthmus {

FleetHubSource::FleetHubSource(const FleetHubSourceOptions& options)
    : ApiSource("the Fleet hub", options.server, [options](const std::string& server) {
        return std::make_unique<FleetHubObjects>(
            FleetHubObjectsOptions{server, options.own_cluster, options.blank_retention, options.heartbeats_missed});
      }) {}

}  // namespace isthmus
