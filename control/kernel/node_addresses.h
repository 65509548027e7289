// The addresses of this node, and the routers that it sends through. Thread: control.
#pragma once

#include <vector>

#include "control/kernel/links.h"
#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Routers are those of the main table; routes of ours have none. Sorted.
[[nodiscard]] Result<std::vector<NodeAddress>> query_node_addresses(NetlinkRequests& requests, const Links& links);

}  // namespace isthmus
