// How one hub is asked, by its kind. Each blocks its thread for some seconds at most, a resolver's time not counted.
// Internal to this folder.
#pragma once

#include <string>

#include "control/doctor/facts.h"

namespace isthmus {

// What is read of an etcd. `cluster`: its configuration; empty: the heartbeat of the hub. `registration`: a gateway of
// ours writes there, for which its user needs no right to read.
struct EtcdQuestion {
  std::string cluster = {};
  bool registration = false;
};

// `path`: of the etcd client configuration.
[[nodiscard]] HubFacts ask_etcd(HubFacts facts, const std::string& path, const EtcdQuestion& question);
// `access`: as in the configuration. `of_cluster`: that of this cluster, whose pods are listed.
[[nodiscard]] HubFacts ask_api_server(HubFacts facts, const std::string& access, bool of_cluster);

}  // namespace isthmus
