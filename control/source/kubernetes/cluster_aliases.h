// Claims of aliases at an API server: the CrossClusterNetworkProfile alias-CLUSTER. Called by `isthmus allocate
// --alias`. Thread: any, no shared state; blocks on the server.
//
// Two allocators never give one block to two clusters, although a server has no lock for that, and gateways never see a
// claim that is withdrawn: as with VIPs (service_vips.h), the profile first gets the annotation
// isthmus.io/alias-wanted, which gateways do not read, then all objects are listed, and where another has addresses of
// a block or wants them, the wish is withdrawn and another block tried. Only then the wish becomes the claim, in one
// write that fails if the profile was changed meanwhile. The profile of a wish without a claim names one cluster and
// says nothing of it.
#pragma once

#include "control/source/file/alias_claims.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/times.h"

namespace isthmus {

inline constexpr const char* kAliasWantedAnnotation = "isthmus.io/alias-wanted";

struct ServerAliasRequest : AliasRequest {
  bool dry_run = false;  // nothing is written, and another may take the blocks
};

// As allocate_alias() (file/alias_claims.h). Fails, too, where a right is missing, which the error names.
[[nodiscard]] Result<AliasClaim> allocate_cluster_alias(const ServerAliasRequest& request, const ApiAccess& access,
                                                        const ApiTimes& times = {});

}  // namespace isthmus
