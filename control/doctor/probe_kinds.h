// How one hub is asked, by its kind. Each blocks its thread for some seconds at most, a resolver's time not counted.
// Internal to this folder.
#pragma once

#include <string>

#include "control/doctor/facts.h"

namespace isthmus {

// `path`: of the etcd client configuration. `cluster`: whose configuration is read there; empty: of none.
[[nodiscard]] HubFacts ask_etcd(HubFacts facts, const std::string& path, const std::string& cluster);
// `access`: as in the configuration. `of_cluster`: that of this cluster, whose pods are listed.
[[nodiscard]] HubFacts ask_api_server(HubFacts facts, const std::string& access, bool of_cluster);

}  // namespace isthmus
