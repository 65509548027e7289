// What the claims of a hub, a folder or an API server, leave free, and what a service has: the part of `isthmus
// allocate` that is the same for both. Pure; thread: any.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/model/objects.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct VipRequest {
  std::string cluster;        // whose Service it is
  std::string ns, name;       // of the Service
  std::vector<Prefix> pools;  // tried in order; one address is claimed in each of their families
};

// What of a hub affects a claim.
struct ClaimView {
  struct ExistingClaim {
    std::vector<IpAddress> addresses;
    Provenance provenance;
  };
  std::set<IpAddress> taken;
  std::vector<ExistingClaim> service_claims;
  std::vector<std::pair<Prefix, std::string>> blocks;  // of others than VIPs, with whose they are: " of cluster east"
  bool cluster_known = false;
  std::optional<ServiceObject> service;
};

void collect_claims(const ObjectDelta& delta, const VipRequest& request, ClaimView& view);

// Names, and that there are pools.
[[nodiscard]] Status check_request(const VipRequest& request);
// Error: a pool overlaps a block of pods, nodes or aliases.
[[nodiscard]] Status check_pools(const VipRequest& request, const ClaimView& view);
// The claim the service already has; nothing: none. Error: it does not match the pools, or there are two.
[[nodiscard]] Result<std::optional<ClaimView::ExistingClaim>> existing_claim(const VipRequest& request,
                                                                             const ClaimView& view);
// The lowest free address of each family, except the first of a block and the last of an IPv4 block.
[[nodiscard]] Result<std::vector<IpAddress>> take_addresses(const VipRequest& request, const ClaimView& view);
[[nodiscard]] std::string join_addresses(const std::vector<IpAddress>& addresses, const std::string& separator = ", ");

}  // namespace isthmus
