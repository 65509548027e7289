// Claims of aliases in a file hub: finds free blocks and writes them to the hub as a CrossClusterNetworkProfile. Called
// by `isthmus allocate --alias`. Thread: any, no shared state; a lock file in the hub's folder keeps processes apart.
// Blocks on the disk, and for at most `lock_timeout` on the lock.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/source/file/alias_blocks.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct AliasClaimRequest : AliasRequest {
  std::string hub;  // the folder
  std::chrono::milliseconds lock_timeout{5000};
  bool dry_run = false;  // nothing is written, and another may take the blocks
};

struct AliasClaim {
  std::vector<AliasBlock> blocks;  // of all of the cluster's pods
  std::string where;               // the file, or the object's URL, that has the claim, or would have it
  bool created = false;            // false: all were claimed before, or this is a dry run
  std::vector<std::string> notes;  // of what the answer does not take into account
};

// The cluster's aliases within the pools: those it has, and new ones for the blocks that have none.
[[nodiscard]] Result<AliasClaim> allocate_alias(const AliasClaimRequest& request);

}  // namespace isthmus
