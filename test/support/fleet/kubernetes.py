"""Kubernetes in place of the file hub: every cluster has an API server with its own objects, and one more is the Fleet
hub, which has of every cluster what its agents export: addresses and ports, IPv4 alone, and no labels.

    hub/<server>/ca.crt, hub/<server>/token   what a client of that server needs
    hub/<server>/config                       the same as a kubeconfig
"""

import json
import os
import subprocess

import yaml

from . import hub, plan
from .shell import wait_until

FLEET = "fleet"  # the name of the hub's server
PORTS = {FLEET: 6444}
OWN_PORT = 6443
NETWORKING = "networking.fleet.azure.com/v1alpha1"
MEMBERS = "cluster.kubernetes-fleet.io/v1beta1"
OWN_KINDS = {
    "v1": ("Namespace", "Service", "Pod", "Node"),
    "discovery.k8s.io/v1": ("EndpointSlice",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "cilium.io/v2": ("CiliumEndpoint", "CiliumIdentity", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"),
    "multicluster.x-k8s.io/v1beta1": ("ServiceImport", "ServiceExport"),
    "isthmus.io/v1alpha1": ("Cluster", "Gateway", "CrossClusterNetworkProfile"),
}
FLEET_KINDS = {NETWORKING: ("EndpointSliceExport", "InternalServiceExport", "ServiceImport"),
               MEMBERS: ("MemberCluster",)}


def collection(version, kind):
    plural = kind.lower()
    plural = plural + "s" if not plural.endswith("y") or plural.endswith("ay") else plural[:-1] + "ies"
    return f"/{'apis' if '/' in version else 'api'}/{version}/{plural}"


def identify(item):
    meta = item["metadata"]
    return collection(item["apiVersion"], item["kind"]), meta.get("namespace", ""), meta["name"]


class ApiServer:
    """One API server in a namespace. Its objects outlive it here, its authority and its history do not: whoever follows
    it has to take the new authority, and to list again by difference."""

    def __init__(self, name, program, space, address, kinds, folder):  # pylint: disable=too-many-arguments
        self.name = name
        self.program = program
        self.space = space
        self.address = address
        self.port = PORTS.get(name, OWN_PORT)
        self.kinds = kinds
        self.folder = os.path.join(folder, name)
        self.log = os.path.join(os.path.dirname(folder), "log", f"api-{name}.log")
        self.objects = {}
        self.runs = 0
        self.daemon = None
        os.makedirs(self.folder)
        self._write("token", "a token")
        self._write("config", json.dumps({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"https://{address}:{self.port}",
                                                   "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"tokenFile": "token"}}]}))

    @property
    def kubeconfig(self):
        return os.path.join(self.folder, "config")

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        self.runs += 1
        authority = os.path.join(self.folder, "ca.crt")
        if os.path.exists(authority):
            os.remove(authority)
        self.daemon = self.space.start(f"api-{self.name}", [self.program, self.address, str(self.port), authority,
                                                            str(self.runs * 1000000)], self.log, stdin=subprocess.PIPE)
        wait_until(lambda: os.path.exists(authority), what=f"the API server of {self.name} listens")
        for version, kinds in self.kinds.items():
            for kind in kinds:
                self._order(do="serve", collection=collection(version, kind), kind=kind, version=version)
        for item in self.objects.values():
            self._order(do="put", collection=identify(item)[0], object=item)

    def _order(self, **order):
        self.daemon.popen.stdin.write(json.dumps(order).encode() + b"\n")
        self.daemon.popen.stdin.flush()

    def put(self, item):
        self.objects[identify(item)] = item
        if self.daemon.alive:
            self._order(do="put", collection=identify(item)[0], object=item)

    def remove(self, key):
        del self.objects[key]
        if self.daemon.alive:
            self._order(do="remove", collection=key[0], namespace=key[1], name=key[2])

    def compact(self, version, kind):
        """Forgets the history of a kind, so that every watch of it must list again."""
        self._order(do="compact", collection=collection(version, kind))

    def kill(self):
        self.daemon.kill()
        self.daemon.popen.stdin.close()

    def stop(self):
        if self.daemon is not None and self.daemon.alive:
            self.kill()


class Kubernetes(hub.Hub):
    """As Hub, for the tests; start() when the namespaces are there."""

    kind = "kubernetes"
    program = None  # the API server's; whoever makes a fleet of this kind says where it is

    def __init__(self, base):
        super().__init__(base)
        self.servers = {}
        self.files = {}  # by server and file: the objects written

    def start(self, topology):
        for name in [cluster.name for cluster in plan.CLUSTERS] + [FLEET]:
            place = plan.cluster("north" if name == FLEET else name)
            node = next(node for node in place.nodes if node.pods)
            self.servers[name] = ApiServer(name, self.program, topology.node(place.name, node.name),
                                           place.node_ipv4(node), FLEET_KINDS if name == FLEET else OWN_KINDS,
                                           self.folder)
            self.servers[name].start()

    def places(self):
        return [f"hub      an API server of {name}: {server.kubeconfig}" for name, server in self.servers.items()]

    def hint(self):
        return ""

    def hub_config(self, cluster):
        return (f"{{kubernetes: {{cluster: {self.servers[cluster].kubeconfig}, "
                f"fleet: {self.servers[FLEET].kubeconfig}}}}}", None)

    def write(self, name, documents):
        """As a file: what an earlier version of it had and this one lacks is deleted. `fleet/*` is of every cluster."""
        top, cluster = name.split("/")[:2]
        items = [item for item in yaml.safe_load_all("---\n".join(documents)) if item]
        for server in ([self.servers[cluster]] if top == "clusters"
                       else [self.servers[entry.name] for entry in plan.CLUSTERS]):
            before = self.files.get((server.name, name), set())
            now = {identify(item) for item in items}
            for item in items:
                if server.objects.get(identify(item)) != item:
                    server.put(item)
            for key in before - now:
                server.remove(key)
            self.files[(server.name, name)] = now

    def remove(self, name):
        self.write(name, [])

    def write_fleet(self):
        super().write_fleet()
        for cluster in plan.CLUSTERS:
            self.servers[FLEET].put({
                "apiVersion": MEMBERS, "kind": "MemberCluster", "metadata": {"name": cluster.name},
                "spec": {"heartbeatPeriodSeconds": 60},
                "status": {"conditions": [{"type": "Joined", "status": "True"}]}})

    def claim(self, addresses, name="web"):
        """The VIPs of a service, as the ServiceImport that every cluster has of it."""
        for cluster in plan.CLUSTERS:
            self.write(f"clusters/{cluster.name}/import-{name}.yaml", [json.dumps({
                "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"type": "ClusterSetIP", "ips": list(addresses), "ports": [
                    {"name": port, "protocol": protocol, "port": number}
                    for port, protocol, number, _ in hub.web_ports(cluster)]}})])

    def write_service(self, cluster, name="web", backends=None, exported=True, annotations=None, drained=False,
                      ports=None):
        super().write_service(cluster, name, backends, exported, annotations, drained, ports)
        if backends is None:
            backends = [pod for pod in cluster.pods() if pod.backend]
        self.export(cluster, name, backends, ports or hub.web_ports(cluster))

    def export(self, cluster, name, backends, ports):
        """What the agents of Azure Fleet write of an exported Service."""
        fleet, place = self.servers[FLEET], f"fleet-member-{cluster.name}"
        reference = {"clusterId": cluster.name, "namespace": "shop", "name": name}
        fleet.put({"apiVersion": NETWORKING, "kind": "InternalServiceExport",
                   "metadata": {"namespace": place, "name": f"shop-{name}"},
                   "spec": {"ports": [{"name": port, "protocol": protocol, "port": number}
                                      for port, protocol, number, _ in ports], "serviceReference": reference},
                   "status": {"conditions": [{"type": "Conflict", "status": "False"}]}})
        fleet.put({"apiVersion": NETWORKING, "kind": "EndpointSliceExport",
                   "metadata": {"namespace": place, "name": f"{cluster.name}-shop-{name}-abcde"},
                   "spec": {"addressType": "IPv4", "endpoints": [{"addresses": [pod.ipv4]} for pod in backends],
                            "ports": [{"name": port, "protocol": protocol, "port": number}
                                      for port, protocol, _, number in ports],
                            "endpointSliceReference": reference | {"name": f"{name}-ipv4", "uid": name},
                            "ownerServiceReference": {"namespace": "shop", "name": name}}})
        key = (collection(NETWORKING, "ServiceImport"), "shop", name)
        known = fleet.objects.get(key, {}).get("status", {}).get("clusters", [])
        if {"cluster": cluster.name} not in known:
            fleet.put({"apiVersion": NETWORKING, "kind": "ServiceImport",
                       "metadata": {"namespace": "shop", "name": name},
                       "status": {"clusters": known + [{"cluster": cluster.name}]}})

    def stop(self):
        for server in self.servers.values():
            server.stop()

    def daemons(self):
        return [server.daemon for server in self.servers.values() if server.daemon is not None]
