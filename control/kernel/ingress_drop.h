// Keeps what an interface receives from the kernel's stack, while packet sockets (tcpdump, drivers of DPDK's that work
// by them) go on seeing it: a BPF program of two instructions at its clsact hook, which drops.
//
// The program is known again by its preference and name, so that one that an earlier process has left is adopted, and
// programs of others at the hook stay. Thread: control.
#pragma once

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// Error: this kernel has no such hook (CONFIG_NET_CLS_BPF), or no permission (CAP_BPF).
[[nodiscard]] Status drop_ingress(NetlinkRequests& requests, const LinkState& interface);
// Not an error if there is none.
[[nodiscard]] Status allow_ingress(NetlinkRequests& requests, const LinkState& interface);

}  // namespace isthmus
