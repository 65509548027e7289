// The local device: a veth pair whose kernel end carries the routes to everything that is reached through the gateway,
// and whose engine end the gateway reads and writes by AF_XDP.
//
// What it has to be, and why:
// - NOARP, no multicast, no IPv6 addresses of its own: not one frame passes that the node's stack makes up (a stray ARP
//   or ND packet also glues the kernel's polling to the wrong core).
// - no checksum, TSO or GSO offload on the kernel end: a frame that crosses into AF_XDP must carry its whole checksum.
// - as many queues as workers, on both ends: the receive queue of a frame follows the sender's transmit queue.
// - rp_filter loose on the kernel end: sources come in that the node reaches by another way.
// The pair outlives the gateway: while no engine runs, fleet traffic ends in it instead of going out in clear.
// Owner: Kernel. Thread: control.
#pragma once

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Makes the pair or adopts it. What stands under one of the names and is no such pair is an error, never replaced.
[[nodiscard]] Result<LocalDevice> make_local_device(NetlinkRequests& requests, const LocalDeviceOptions& options);
[[nodiscard]] Status remove_local_device(NetlinkRequests& requests, const LocalDeviceOptions& options);
// Settings of the node (never changed by us) that keep it from forwarding between its pods and the local device.
[[nodiscard]] std::vector<Error> forwarding_problems(const std::string& local_device);

}  // namespace isthmus
