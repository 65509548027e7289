"""The layout of the fleet: clusters, nodes, gateways, pods and their addresses. No side effects.

    east   id 1   198.51.100.0/24   node1 (gateway east-1), node2 (gateway east-2), node3 (routes to both)
    west   id 2   203.0.113.0/24    node1 (gateway west-1)
    north  id 3   192.0.2.0/24      gw (gateway north-1: dedicated node, one device), node1 (routes to it)

One router connects the underlay subnets. Node n of cluster c has pods in 10.c.n.0/24 and fd00:c:0:n::/64.

A fleet with overlap (OVERLAPPING) has a fourth cluster whose pods have the addresses of west's, all of them:

    south  id 4   198.18.4.0/24     node1 (gateway south-1)

Outside their clusters, pods of west are in 10.102.0.0/16 and fd00:102::/48, those of south in 10.104.0.0/16 and
fd00:104::/48.
"""

from dataclasses import dataclass, field, replace

VIP_POOLS = ("10.200.0.0/24", "fd00:ff::/112")
NODE_RESOLVER_PORT = 53
DOMAIN = "clusterset.local"

# Maximum number of connected clusters: position of the cluster id within an identity (a shift in bits).
IDENTITY_SHIFT = {255: 16, 511: 15}
max_connected_clusters = 255

# Names of clusters that publish no CIDRs for pods, as with Azure CNI's pod subnets or ENI.
without_pod_cidrs = set()

# Of all gateways: how they want to be reached, and the families of their underlay addresses.
encapsulation = "vxlan"
underlay_families = (4,)
TUNNEL_PORTS = {"vxlan": 8472, "geneve": 6081}


@dataclass(frozen=True)
class Pod:
    """A pod: its node and its addresses. Backends run the HTTP and UDP servers; other pods are clients."""

    cluster: str
    node: str
    name: str
    ipv4: str
    ipv6: str
    backend: bool
    identity: int
    alias_ipv4: str = ""  # how other clusters know it
    alias_ipv6: str = ""

    @property
    def full_name(self):
        return f"{self.cluster}-{self.name}"

    @property
    def fleet_addresses(self):
        """As other clusters and all gateways know it."""
        return (self.alias_ipv4 or self.ipv4, self.alias_ipv6 or self.ipv6)

    def seen_from(self, cluster):
        """Its addresses for pods of that cluster."""
        return (self.ipv4, self.ipv6) if cluster == self.cluster else self.fleet_addresses


@dataclass(frozen=True)
class Gateway:
    """One `isthmus run`: its node and its own addresses."""

    name: str
    cluster: str
    node: str
    underlay: str
    translation_ipv4: str
    translation_ipv6: str
    one_device: bool = False


@dataclass(frozen=True)
class Node:
    """A node: `host` is the last part of its underlay addresses, `index` the number of its pod subnets."""

    name: str
    index: int
    host: int
    queues: int = 1
    pods: tuple = ()


@dataclass(frozen=True)
class Cluster:
    name: str
    id: int
    site_ipv4: str  # first three bytes of the underlay subnet
    http_port: int  # of the backends' port named "http"; different in every cluster
    nodes: tuple = ()
    gateways: tuple = ()
    clients: tuple = field(default=("client",))
    net: int = 0    # the number in its pods' addresses; 0: its id
    alias: int = 0  # the one by which others know them; 0: the same

    @property
    def pod_net(self):
        return self.net or self.id

    @property
    def pod_cidrs(self):
        return (f"10.{self.pod_net}.0.0/16", f"fd00:{self.pod_net}::/48")

    @property
    def fleet_cidrs(self):
        """Its pods' prefixes as other clusters know them."""
        net = self.alias or self.pod_net
        return (f"10.{net}.0.0/16", f"fd00:{net}::/48")

    def node_ipv4(self, node):
        return f"{self.site_ipv4}.{node.host}"

    def node_ipv6(self, node):
        return f"fd00:ee:{self.id}::{node.host}"

    def pod_subnets(self, node):
        return (f"10.{self.pod_net}.{node.index}.0/24", f"fd00:{self.pod_net}:0:{node.index}::/64")

    def node_pod_gateway(self, node):
        """The node's own address towards its pods."""
        return f"10.{self.pod_net}.{node.index}.1"

    def node(self, name):
        return next(node for node in self.nodes if node.name == name)

    @property
    def home(self):
        """The node on which the cluster's servers are: the first one with pods."""
        return next((node for node in self.nodes if node.pods), self.nodes[0])

    def pods(self):
        """All pods, in order: backends web-0, web-1, ... and clients."""
        return [pod for node in self.nodes for pod in self._pods_of(node)]

    def _pods_of(self, node):
        for name in node.pods:
            backend = name.startswith("web-")
            last = 10 + int(name[4:]) if backend else 100 + self.clients.index(name)
            addresses = [address for net in (self.pod_net, self.alias or self.pod_net)
                         for address in (f"10.{net}.{node.index}.{last}", f"fd00:{net}:0:{node.index}::{last}")]
            yield Pod(self.name, node.name, name, *addresses[:2], backend,
                      self.identity("web" if backend else "client"), *addresses[2:])

    def identity(self, app):
        """The numeric identity of an app's pods: cluster id in the upper bits, as in Cilium."""
        return (self.id << IDENTITY_SHIFT[max_connected_clusters]) + {"web": 1001, "client": 1002}[app]


def _gateway(cluster_id, number, cluster, node, underlay, one_device=False):
    return Gateway(f"{cluster}-{number}", cluster, node, underlay, f"10.{cluster_id}.255.{number}",
                   f"fd00:{cluster_id}::ff:{number}", one_device)


CLUSTERS = (
    Cluster("east", 1, "198.51.100", 8080,
            nodes=(Node("node1", 1, 11, queues=2, pods=("web-0", "client")), Node("node2", 2, 12, pods=("web-1",)),
                   Node("node3", 3, 13, pods=("web-2", "client3"))),
            gateways=(_gateway(1, 1, "east", "node1", "198.51.100.11"),
                      _gateway(1, 2, "east", "node2", "198.51.100.12")),
            clients=("client", "client3")),
    Cluster("west", 2, "203.0.113", 8081,
            nodes=(Node("node1", 1, 11, pods=("web-0", "web-1", "client")),),
            gateways=(_gateway(2, 1, "west", "node1", "203.0.113.11"),)),
    Cluster("north", 3, "192.0.2", 8082,
            nodes=(Node("gw", 9, 11), Node("node1", 1, 21, pods=("web-0", "web-1", "client"))),
            gateways=(_gateway(3, 1, "north", "gw", "192.0.2.11", one_device=True),)),
)

SOUTH = Cluster("south", 4, "198.18.4", 8083,
                nodes=(Node("node1", 1, 11, pods=("web-0", "web-1", "client")),),
                gateways=(Gateway("south-1", "south", "node1", "198.18.4.11", "10.2.255.1", "fd00:2::ff:1"),),
                net=2, alias=104)
OVERLAPPING = tuple(replace(each, alias=102) if each.name == "west" else each for each in CLUSTERS) + (SOUTH,)


def cluster(name):
    return next(entry for entry in CLUSTERS if entry.name == name)


def pod(full_name):
    """The pod of a full name, cluster-name."""
    cluster_name, name = full_name.split("-", 1)
    return next(entry for entry in cluster(cluster_name).pods() if entry.name == name)


def underlay_addresses(of, gateway):
    """The underlay addresses that a gateway of cluster `of` announces."""
    ipv6 = of.node_ipv6(of.node(gateway.node))
    return [gateway.underlay if family == 4 else ipv6 for family in underlay_families]


def gateways():
    return [gateway for entry in CLUSTERS for gateway in entry.gateways]


def remote_prefixes(of):
    """What must be routed to a gateway: the other clusters' prefixes and the VIP pools."""
    return [prefix for entry in CLUSTERS if entry.name != of for prefix in entry.fleet_cidrs] + list(VIP_POOLS)
