"""A fleet in which west's first gateway has its underlay by DPDK, and the others by AF_XDP.

DPDK's af_packet driver has the node's veth. The kernel has the node's addresses on the twin, a TAP; what arrives at the
veth itself it does not see, as if the NIC were bound to vfio-pci.
"""

import os

from .topology import Topology

TWIN = "dpdk0"
DEVICE = "net_af_packet0,iface=eth0"
GATEWAY, NODE = "west-1", "west-node1"
# With it, every fleet is such a one.
EVERYWHERE = "ISTHMUS_FLEET_DPDK"


class DpdkTopology(Topology):
    """West's first node has its addresses on the twin's TAP, which is there before the gateway and stays behind it."""

    def _join_site(self, router, port, cluster, netns):
        device = super()._join_site(router, port, cluster, netns)
        if port != NODE:
            return device
        mac = netns.run(["ip", "-br", "link", "show", device]).stdout.split()[2]
        netns.run(["nft", "add table netdev nic; add chain netdev nic ingress "
                          f"{{ type filter hook ingress device {device} priority 0; policy drop; }}"])
        netns.run(["sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{device}/disable_ipv6"])
        netns.ip(f"tuntap add dev {TWIN} mode tap", f"link set {TWIN} address {mac}", f"link set {TWIN} up")
        return TWIN


def settings_of(settings, queues=1):
    """The settings of the gateways, with so many workers for the one over DPDK."""
    device = f"{DEVICE},qpairs={queues}" if queues > 1 else DEVICE
    return {**settings, "interfaces": {**settings.get("interfaces", {}), GATEWAY: (TWIN, None)},
            "dpdk": {GATEWAY: device}, **({"workers_of": {GATEWAY: queues}} if queues > 1 else {})}


def everywhere():
    """Whether all fleets of this run are such ones."""
    return bool(os.environ.get(EVERYWHERE))
