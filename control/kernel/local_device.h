// The local device: a veth pair whose kernel end carries the routes to everything that is reached through the gateway,
// and whose engine end the gateway reads and writes by AF_XDP.
//
// Required configuration, and why:
// - NOARP, no multicast, no IPv6 addresses of its own: the node's stack must not originate frames on it (a stray ARP or
//   ND packet also ties the kernel's polling to the wrong core).
// - no checksum, TSO or GSO offload on the kernel end: a frame that enters AF_XDP must carry a complete checksum.
// - GRO on the kernel end: otherwise it discards what XDP programs redirect to the engine end (settled flows that are
//   handed down).
// - as many queues as workers, on both ends: the receive queue of a frame follows the sender's transmit queue.
// - rp_filter loose on the kernel end: packets arrive from sources that the node reaches by another route.
// The pair outlives the gateway: while no engine runs, fleet traffic is dropped there instead of leaving
// unencapsulated.
// Owner: Kernel. Thread: control.
#pragma once

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Creates the pair or adopts it. Any other interface with one of the names is an error and never replaced.
[[nodiscard]] Result<LocalDevice> make_local_device(NetlinkRequests& requests, const LocalDeviceOptions& options);
[[nodiscard]] Status remove_local_device(NetlinkRequests& requests, const LocalDeviceOptions& options);
// The TAP of that name, by which the kernel had a device of DPDK's. Not an error if there is none, or another
// interface.
[[nodiscard]] Status remove_twin(NetlinkRequests& requests, const std::string& interface);
// Settings of the node (never changed by us) that prevent forwarding between its pods and the local device.
[[nodiscard]] std::vector<Error> forwarding_problems(const std::string& local_device);

}  // namespace isthmus
