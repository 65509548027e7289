// Claims of VIPs in a file hub: finds an address that nobody has and writes it down as a ServiceImport. The one writer
// of a hub; `isthmus allocate` calls it. Thread: any, nothing is shared; two processes exclude each other by a lock
// file in the hub's folder. Blocks on the disk, and on the lock as long as the request says.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

struct ClaimRequest {
  std::string hub;               // the folder
  std::string cluster;           // whose manifest the claim becomes
  std::string name_space, name;  // of the Service
  std::vector<Prefix> pools;     // an address is claimed in each family that is named; tried in order
  std::chrono::milliseconds lock_patience{5000};
};

struct Claim {
  std::vector<IpAddress> addresses;
  std::string file;            // where it stands
  bool created = false;        // false: it stood there before
  bool service_known = false;  // a Service of that name is in the cluster's manifests
};

// The claim of the service within the pools: the one that stands, of whichever cluster, or a new one. The lowest free
// address is taken; the first of a block and the last of an IPv4 block are left out. Fails when the pools are
// exhausted, overlap a cluster's blocks, another claim of the service stands, or manifests that may hold claims cannot
// be read.
[[nodiscard]] Result<Claim> allocate_vip(const ClaimRequest& request);

}  // namespace isthmus
