"""A fleet in which west's gateway has its underlay by DPDK, and the others by AF_XDP.

DPDK's af_packet driver has the node's veth. The kernel has the node's addresses on the twin, a TAP; what arrives at the
veth itself it does not see, as if the NIC were bound to vfio-pci.
"""

from fleet.topology import Topology

TWIN = "dpdk0"
DEVICE = "net_af_packet0,iface=eth0"
GATEWAY = "west-1"
SETTINGS = {"interfaces": {GATEWAY: (TWIN, None)}, "dpdk": {GATEWAY: DEVICE}}


class DpdkTopology(Topology):
    """West's first node has its addresses on the twin's TAP, which is there before the gateway and stays behind it."""

    def _join_site(self, router, port, cluster, netns):
        device = super()._join_site(router, port, cluster, netns)
        if port != "west-node1":
            return device
        mac = netns.run(["ip", "-br", "link", "show", device]).stdout.split()[2]
        netns.run(["nft", f"add table netdev nic; add chain netdev nic ingress {{ type filter hook ingress device {device} "
                          "priority 0; policy drop; }"])
        netns.run(["sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{device}/disable_ipv6"])
        netns.ip(f"tuntap add dev {TWIN} mode tap", f"link set {TWIN} address {mac}", f"link set {TWIN} up")
        return TWIN


class Dpdk:
    """Mix-in for a FleetCase."""

    @classmethod
    def make_fleet(cls):
        cls.settings = {**cls.settings, **SETTINGS}
        fleet = super().make_fleet()
        fleet.topology = DpdkTopology(fleet.prefix)
        return fleet

    def dpdk_device(self):
        """Its row in the status of the gateway."""
        return next(row for row in self.fleet.gateways[GATEWAY].status()["devices"] if row["name"] == DEVICE)
