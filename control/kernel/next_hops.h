// How the kernel routes: a lookup for a single address, and its routes to this cluster's own prefixes.
// Owner: Kernel. Thread: control.
#pragma once

#include <span>
#include <vector>

#include "control/kernel/links.h"
#include "control/kernel/netlink.h"
#include "control/kernel/route_entry.h"
#include "control/kernel/types.h"

namespace isthmus {

// See Kernel::next_hop() and Kernel::local_routes(). `links` names the interfaces.
[[nodiscard]] Result<NextHop> query_next_hop(NetlinkRequests& requests, const Links& links, const IpAddress& address);
[[nodiscard]] Result<std::vector<KernelRoute>> query_local_routes(NetlinkRequests& requests, const Links& links,
                                                                  std::span<const Prefix> prefixes);
// The selection, without the kernel: those of `routes` that carry traffic of `prefixes` (see local_routes()).
[[nodiscard]] std::vector<RouteEntry> choose_local_routes(std::span<const RouteEntry> routes,
                                                          std::span<const Prefix> prefixes);

}  // namespace isthmus
