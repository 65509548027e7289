// Claims of VIPs at a cluster's own API server: the annotation isthmus.io/vip of its Service. Called by `isthmus
// allocate`. Thread: any, no shared state; blocks on the server.
//
// Two allocators never give one address to two Services, although a server has no lock for that. A claim is made in two
// steps. First the Service gets the annotation isthmus.io/vip-wanted, which gateways do not read; then all Services are
// listed, and where another one has the address or wants it, the wish is withdrawn and a later address tried. Only then
// the wish becomes the claim, in one write that fails if the Service was changed meanwhile. Of two that want the same
// address, the one that lists later has seen the other's wish, which stands until it is a claim: so at most one of them
// goes on. A wish is withdrawn when nothing comes of it; one that a crash has left counts as taken, and goes when a VIP
// is allocated to its Service.
//
// Claims are read from the objects as they are written, also from those that a gateway refuses: it keeps the claim of
// an earlier version, of which a part may stand there still. Where not all of a claim can be read, the Service itself
// gets no other, and what other Services may have besides is a note to the user.
#pragma once

#include <string>
#include <vector>

#include "control/source/file/vip_claims.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/times.h"

namespace isthmus {

struct ServiceVipRequest : VipRequest {  // without pools: those of the cluster's members in profiles
  bool dry_run = false;                  // nothing is written, and another may take the address
};

struct ServiceVip {
  std::vector<IpAddress> addresses;
  std::string where;               // the Service's URL
  bool created = false;            // false: it had them before, or this is a dry run
  std::vector<std::string> notes;  // of what the answer does not take into account
};

// The Service's claim within the pools: the one it has, or a new one. Fails as allocate_vip() does (file/claims.h), and
// where the Service does not exist, or a right is missing, which the error names.
[[nodiscard]] Result<ServiceVip> allocate_service_vip(const ServiceVipRequest& request, const ApiAccess& access,
                                                      const ApiTimes& times = {});

}  // namespace isthmus
