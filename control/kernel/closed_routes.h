// Keeps fleet traffic from leaving in clear while an interface is without its steer program.
//
// 2026-11-28: where the kernel forwards what arrives on a steered interface (one device for both sides, or a local
// device that is not our veth pair), a program that another one took off, or a gateway that is restarted after its
// interface was made anew, would let packets to the fleet go to the default route. The kernel itself is told to drop
// them: rules "from <own prefix> iif <interface>" lead to a table of blackholes, one for each fleet prefix and VIP.
// While the program is on the interface, no packet meets them. Considered and left: blackholes in the main table (they
// would hide the routes to peers whose underlay addresses lie in a fleet prefix, and stop the node's own packets), and
// a drop rule of nftables or tc (other programs flush the one and clear the other, and a node may have neither). Rules
// and routes outlive the gateway, as the steer program does. Owner: Kernel. Thread: control.
#pragma once

#include <span>
#include <string>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

inline constexpr std::uint32_t kClosedTable = 21073;
// Behind the table of the node's own addresses (0), before all that could route the packets elsewhere.
inline constexpr std::uint32_t kClosedPriority = 5;

// Reconciles rules and table with what is closed: from `sources`, arriving on `interfaces`, to `destinations`. Adds
// before it removes. No interfaces: all is removed.
[[nodiscard]] Status set_closed_routes(NetlinkRequests& requests, std::span<const std::string> interfaces,
                                       std::span<const Prefix> sources, std::span<const Prefix> destinations);

// What has come and gone of the destinations since the last set_closed_routes(), with the same interfaces and sources.
[[nodiscard]] Status change_closed_routes(NetlinkRequests& requests, std::span<const std::string> interfaces,
                                          std::span<const Prefix> sources, std::span<const Prefix> added,
                                          std::span<const Prefix> removed);

}  // namespace isthmus
