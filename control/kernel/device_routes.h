// Our routes on the local device: to remote prefixes, VIPs and translation addresses.
//
// All go through one made-up gateway per family, on-link. The device has no ARP, so the address is never asked for; but
// with plain on-link routes the kernel keeps a neighbour entry per destination, and its table ends at 1,024 of them
// (gc_thresh3; 2026-11-22: 3,000 destinations leave 2 entries this way, 1,978 and evictions the other).
// Owner: Kernel. Thread: control.
#pragma once

#include <span>
#include <string>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Better than what routing daemons and DHCP install for a prefix by default, worse than a person's `ip route add`.
inline constexpr std::uint32_t kRouteMetric = 16;
inline constexpr const char* kGatewayIpv4 = "169.254.73.1";
inline constexpr const char* kGatewayIpv6 = "fe80::1";

// See Kernel::set_routes().
[[nodiscard]] Result<RouteReport> set_device_routes(NetlinkRequests& requests, const LinkState& device,
                                                    std::span<const Prefix> prefixes, const RouteOptions& options);

}  // namespace isthmus
