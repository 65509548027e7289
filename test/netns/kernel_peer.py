"""A fourth cluster whose gateway is the kernel's VXLAN or Geneve device in collect-metadata mode, as on a Cilium node.

The device receives every VNI; on transmit, the route sets the VNI (the sender's identity) and the remote address.
"""

import ipaddress

from fleet import plan
from fleet.hub import gateway_manifest, profile_manifest, cluster_manifest

SOUTH = plan.Cluster(
    "south", 4, "198.18.4", 8083, nodes=(plan.Node("node1", 1, 11, pods=("web-0", "client")),),
    gateways=(plan.Gateway("south-1", "south", "node1", "198.18.4.11", "10.4.255.1", "fd00:4::ff:1"),))
DEVICE = "tunnel0"
TABLES = {"web": 101, "client": 102}


def inner_mac(underlay):
    """The MAC of inner frames for a tunnel endpoint: 02:49 and its IPv4 address, or its IPv6 address's words, XORed."""
    last = 0
    packed = ipaddress.ip_address(underlay).packed
    for at in range(0, len(packed), 4):
        last ^= int.from_bytes(packed[at:at + 4], "big")
    return "02:49:" + ":".join(f"{byte:02x}" for byte in last.to_bytes(4, "big"))


class KernelPeer:
    """Adds cluster south to a running fleet; its pods reach the clusters `to` through the kernel's device, of the kind
    that gateways want.

    `underlay`: family of its tunnels, 4 or 6.
    """

    def __init__(self, fleet, to=("east", "north"), underlay=4):
        self.fleet = fleet
        self.underlay = underlay
        fleet.topology.add_cluster(SOUTH)
        self.node = fleet.node("south", "node1")
        gateway = SOUTH.gateways[0]
        self.address = gateway.underlay if underlay == 4 else SOUTH.node_ipv6(SOUTH.node(gateway.node))
        self.mtu = 1500 - (50 if underlay == 4 else 70)
        self.add_device()
        for pod in SOUTH.pods():
            self._route_pod(pod, to)
        for name in to:
            self._route_back(plan.cluster(name))
        fleet.hub.write("fleet/south.yaml", [cluster_manifest(SOUTH), gateway_manifest(gateway, [self.address])])
        fleet.hub.write("fleet/south-links.yaml",
                        [profile_manifest([SOUTH, *map(plan.cluster, to)]).replace("name: fleet", "name: south")])
        fleet.hub.write_pods(SOUTH)

    def add_device(self):
        kind = plan.encapsulation
        more = f"local {self.address} nolearning" if kind == "vxlan" else ""
        self.node.ip(f"link add {DEVICE} type {kind} external dstport {plan.TUNNEL_PORTS[kind]} {more}",
                     f"link set {DEVICE} address {inner_mac(self.address)} mtu {self.mtu} arp off",
                     f"link set {DEVICE} up")

    def remote(self, cluster):
        """The address of the cluster's first gateway in our family."""
        gateway = cluster.gateways[0]
        return gateway.underlay if self.underlay == 4 else cluster.node_ipv6(cluster.node(gateway.node))

    def route(self, pod, cluster):
        """The rest of a route for packets of the pod to the cluster, from the device on."""
        # Over IPv6 the kernel computes the UDP checksum where asked, as Cilium does.
        encap = "ip" if self.underlay == 4 else "ip6"
        hops = "ttl 64" if self.underlay == 4 else "hoplimit 64 csum"
        return f"encap {encap} id {pod.identity} dst {self.remote(cluster)} {hops} dev {DEVICE}"

    def _route_pod(self, pod, to):
        table = TABLES["web" if pod.backend else "client"]
        self.node.ip(f"rule add from {pod.ipv6} lookup {table}", family=("-6",))
        commands = [f"rule add from {pod.ipv4} lookup {table}"]
        for name in to:
            cluster = plan.cluster(name)
            for prefix in cluster.pod_cidrs:
                commands.append(f"route add {prefix} table {table} {self.route(pod, cluster)}")
        self.node.ip(*commands)

    def _route_back(self, cluster):
        """Nodes without a gateway route to south through their cluster's first gateway."""
        gateway = cluster.node(cluster.gateways[0].node)
        for node in cluster.nodes:
            if node.name not in [entry.node for entry in cluster.gateways]:
                ipv4, ipv6 = SOUTH.pod_cidrs
                self.fleet.node(cluster.name, node.name).ip(f"route add {ipv4} via {cluster.node_ipv4(gateway)}",
                                                            f"route add {ipv6} via {cluster.node_ipv6(gateway)}")

    def pod(self, name):
        return next(pod for pod in SOUTH.pods() if pod.name == name)
