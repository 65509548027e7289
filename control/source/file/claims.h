// Claims of VIPs in a file hub: finds a free address and writes it to the hub as a ServiceImport. Called by `isthmus
// allocate`. Thread: any, no shared state; a lock file in the hub's folder keeps processes apart. Blocks on the disk,
// and for at most `lock_timeout` on the lock.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/source/file/vip_claims.h"
#include "dataplane/api/types.h"

namespace isthmus {

// The claim is written to the manifests of its cluster.
struct ClaimRequest : VipRequest {
  std::string hub;  // the folder
  std::chrono::milliseconds lock_timeout{5000};
  bool dry_run = false;  // nothing is written, and another may take the address
};

struct Claim {
  std::vector<IpAddress> addresses;
  std::string file;            // that contains the claim, or would
  bool created = false;        // false: it existed before, or this is a dry run
  bool service_known = false;  // the cluster's manifests contain that Service
};

// Returns the service's claim within the pools: the existing one, of any cluster, or a new one. A new claim takes the
// lowest free address, except the first of a block and the last of an IPv4 block. Fails when the pools are exhausted or
// overlap a cluster's blocks, when the service has a claim that does not match the pools, or when manifests that may
// contain claims, or addresses of clusters and gateways, cannot be read.
[[nodiscard]] Result<Claim> allocate_vip(const ClaimRequest& request);

}  // namespace isthmus
