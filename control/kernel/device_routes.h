// Our routes on the local device: to remote prefixes, VIPs and translation addresses.
//
// All go through one fictitious on-link gateway per family. The device has no ARP, so the address is never resolved;
// but with plain on-link routes the kernel keeps a neighbour entry per destination, and its table is limited to 1,024
// (gc_thresh3; 2026-11-22: 3,000 destinations leave 2 entries this way; with plain routes 1,978, and evictions).
// Owner: Kernel. Thread: control.
#pragma once

#include <span>
#include <string>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Preferred to the default metrics of routing daemons and DHCP, but not to an operator's `ip route add`.
inline constexpr std::uint32_t kRouteMetric = 16;
// 2026-11-28: behind each route lies a blackhole for the same prefix: when the device is down or was removed, its
// routes are gone, and fleet traffic would leave in clear by the default route.
inline constexpr std::uint32_t kClosedMetric = 17;
inline constexpr const char* kGatewayIpv4 = "169.254.73.1";
inline constexpr const char* kGatewayIpv6 = "fe80::1";

// See Kernel::set_routes().
[[nodiscard]] Result<RouteReport> set_device_routes(NetlinkRequests& requests, const LinkState& device,
                                                    std::span<const Prefix> prefixes, const RouteOptions& options);

// See Kernel::change_routes().
[[nodiscard]] Result<bool> change_device_routes(NetlinkRequests& requests, const LinkState& device,
                                                std::span<const Prefix> added, std::span<const Prefix> removed,
                                                const RouteOptions& options);

// Removes the blackholes behind the routes: what stays when the device is gone.
[[nodiscard]] Status remove_blackholes(NetlinkRequests& requests);

}  // namespace isthmus
