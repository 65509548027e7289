"""A fleet in which west's first gateway has its underlay by DPDK, and the others by AF_XDP.

DPDK's af_packet driver has the node's veth; the gateway's twin takes over the node's addresses and routes.
"""

import os

NIC, TWIN = "eth0", "dpdk0"
DEVICE = f"net_af_packet0,iface={NIC}"
GATEWAY = "west-1"
# With it, every fleet is such a one.
EVERYWHERE = "ISTHMUS_FLEET_DPDK"


def settings_of(settings, queues=1):
    """The settings of the gateways, with so many workers for the one over DPDK."""
    device = f"{DEVICE},qpairs={queues}" if queues > 1 else DEVICE
    return {**settings, "interfaces": {**settings.get("interfaces", {}), GATEWAY: (TWIN, None)},
            "dpdk": {GATEWAY: device}, **({"workers_of": {GATEWAY: queues}} if queues > 1 else {})}


def everywhere():
    """Whether all fleets of this run are such ones."""
    return bool(os.environ.get(EVERYWHERE))
