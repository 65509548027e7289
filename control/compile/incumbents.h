// Who had what clusters and services dispute before this gateway was restarted: it keeps it against newcomers, as it
// would have without the restart. Plain values; given to the compiler before its first compile().
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/model/model.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct IncumbentCluster {
  ClusterId id;
  std::vector<Prefix> prefixes;                               // sorted and disjoint
  std::vector<std::pair<std::string, IpAddress>> gateways{};  // name and underlay address
  std::vector<IpAddress> addresses{};                         // of nodes and pods, in no prefix, that others say too
  friend bool operator==(const IncumbentCluster&, const IncumbentCluster&) = default;
};

struct Incumbents {
  std::map<std::string, IncumbentCluster> clusters;  // by name
  std::map<IpAddress, ServiceName> vips;             // holders
};

}  // namespace isthmus
