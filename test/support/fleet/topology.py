"""Builds the plan's network namespaces, links, addresses and routes, but nothing that a gateway sets up itself."""

from . import plan
from .netns import NODE_SYSCTLS, POD_SYSCTLS, Namespace, connect

UNDERLAY_MTU = 1500
POD_ROUTE_MTU = 1450  # underlay MTU minus tunnel headers, as on the routes that gateways install
NODE_LINK_LOCAL = "fe80::1"


class Topology:
    """The network namespaces of a fleet. Names: <prefix>router, <prefix><cluster>-<node>, <prefix><cluster>-<pod>."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.namespaces = {}

    def names(self):
        return [netns.name for netns in self.namespaces.values()]

    def node(self, cluster, node):
        return self.namespaces[f"{cluster}-{node}"]

    def pod(self, cluster, pod):
        return self.namespaces[f"{cluster}-{pod}"]

    def build(self):
        self._add("router", NODE_SYSCTLS)
        for cluster in plan.CLUSTERS:
            self.add_cluster(cluster)

    def add_cluster(self, cluster):
        """Builds one cluster; it need not be in the plan."""
        router = self.namespaces["router"]
        self._build_site(router, cluster)
        for node in cluster.nodes:
            self._build_node(router, cluster, node)
        for pod in cluster.pods():
            self._build_pod(cluster, pod)
        for node in cluster.nodes:
            self._route_cluster(cluster, node)

    def remove(self):
        for netns in self.namespaces.values():
            netns.remove()
        self.namespaces.clear()

    def _add(self, key, sysctls):
        netns = Namespace(f"{self.prefix}{key}", sysctls)
        self.namespaces[key] = netns
        return netns

    @staticmethod
    def _build_site(router, cluster):
        router.ip(f"link add {cluster.name} type bridge",
                  f"link set {cluster.name} up",
                  f"addr add {cluster.site_ipv4}.1/24 dev {cluster.name}",
                  f"addr add fd00:ee:{cluster.id}::1/64 dev {cluster.name} nodad")

    def _build_node(self, router, cluster, node):
        netns = self._add(f"{cluster.name}-{node.name}", NODE_SYSCTLS)
        port = f"{cluster.name}-{node.name}"
        connect(router, port, netns, "eth0", node.queues)
        if node.name in {gateway.node for gateway in cluster.gateways}:
            # Without it, this end discards what a gateway's XDP program redirects to the other.
            router.run(["ethtool", "-K", port, "gro", "on"])
        device = self._join_site(router, port, cluster, netns)
        netns.ip(f"addr add {cluster.node_ipv4(node)}/24 dev {device}",
                 f"addr add {cluster.node_ipv6(node)}/64 dev {device} nodad",
                 f"route add default via {cluster.site_ipv4}.1",
                 f"route add ::/0 via fd00:ee:{cluster.id}::1")

    def _join_site(self, router, port, cluster, netns):  # pylint: disable=unused-argument
        """Makes the router's end of a node's link part of the node's site. Returns the node's device there."""
        router.ip(f"link set {port} master {cluster.name}")
        return "eth0"

    def _build_pod(self, cluster, pod):
        node = self.node(cluster.name, pod.node)
        netns = self._add(f"{cluster.name}-{pod.name}", POD_SYSCTLS)
        device = f"pod-{pod.name}"
        connect(node, device, netns, "eth0")
        gateway = cluster.node_pod_gateway(cluster.node(pod.node))
        node.ip(f"addr add {gateway}/32 dev {device}",
                f"addr add {NODE_LINK_LOCAL}/64 dev {device} nodad",
                f"route add {pod.ipv4}/32 dev {device}",
                f"route add {pod.ipv6}/128 dev {device}")
        netns.ip(f"addr add {pod.ipv4}/32 dev eth0",
                 f"addr add {pod.ipv6}/128 dev eth0 nodad",
                 f"route add default via {gateway} dev eth0 onlink mtu {POD_ROUTE_MTU}",
                 f"route add ::/0 via {NODE_LINK_LOCAL} dev eth0 mtu {POD_ROUTE_MTU}")

    def _route_cluster(self, cluster, node):
        """A node's routes to its own cluster, and to the gateways unless it runs one itself."""
        commands = []
        for other in cluster.nodes:
            if other is node or not other.pods:
                continue
            ipv4, ipv6 = cluster.pod_subnets(other)
            commands += [f"route add {ipv4} via {cluster.node_ipv4(other)}",
                         f"route add {ipv6} via {cluster.node_ipv6(other)}"]
        hosts = {gateway.name: cluster.node(gateway.node) for gateway in cluster.gateways}
        for gateway in cluster.gateways:
            if gateway.node != node.name:
                commands += [
                    f"route add {gateway.translation_ipv4} via {cluster.node_ipv4(hosts[gateway.name])}",
                    f"route add {gateway.translation_ipv6} via {cluster.node_ipv6(hosts[gateway.name])}"]
        if node not in hosts.values():
            for prefix in plan.remote_prefixes(cluster.name):
                address = cluster.node_ipv6 if ":" in prefix else cluster.node_ipv4
                hops = " ".join(f"nexthop via {address(host)}" for host in hosts.values())
                commands.append(f"route add {prefix} {hops}")
        if commands:
            self.node(cluster.name, node.name).ip(*commands)
