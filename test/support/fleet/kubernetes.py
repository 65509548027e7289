"""Kubernetes instead of the file hub: every cluster has an API server with its own objects; one more API server is the
Fleet hub, which holds what each cluster's agents export: addresses and ports, IPv4 only, without labels.

    hub/<server>/ca.crt, hub/<server>/token   CA certificate and bearer token of that server
    hub/<server>/config                       a kubeconfig that refers to them
"""

import json
import os
import subprocess

import yaml

from . import hub, plan
from .shell import wait_until

FLEET = "fleet"  # the name of the Fleet hub's server
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
    """One API server in a network namespace. Its objects survive a restart; its CA and its watch history do not:
    clients must load the new CA and relist, applying only the difference."""

    def __init__(self, name, program, netns, address, kinds, folder):  # pylint: disable=too-many-arguments
        self.name = name
        self.program = program
        self.netns = netns
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
        ca_file = os.path.join(self.folder, "ca.crt")
        if os.path.exists(ca_file):
            os.remove(ca_file)
        self.daemon = self.netns.start(f"api-{self.name}", [self.program, self.address, str(self.port), ca_file,
                                                            str(self.runs * 1000000)], self.log, stdin=subprocess.PIPE)
        wait_until(lambda: os.path.exists(ca_file), what=f"the API server of {self.name} listens")
        for version, kinds in self.kinds.items():
            for kind in kinds:
                self._send(do="serve", collection=collection(version, kind), kind=kind, version=version)
        for item in self.objects.values():
            self._send(do="put", collection=identify(item)[0], object=item)

    def _send(self, **command):
        self.daemon.popen.stdin.write(json.dumps(command).encode() + b"\n")
        self.daemon.popen.stdin.flush()

    def put(self, item):
        self.objects[identify(item)] = item
        if self.alive:
            self._send(do="put", collection=identify(item)[0], object=item)

    def remove(self, key):
        del self.objects[key]
        if self.alive:
            self._send(do="remove", collection=key[0], namespace=key[1], name=key[2])

    def compact(self, version, kind):
        """Drops the watch history of a kind, so that every watch of it must relist."""
        self._send(do="compact", collection=collection(version, kind))

    def forbid(self, version, kind, forbidden=True):
        """Whether every request of that kind is answered with 403."""
        self._send(do="forbid", collection=collection(version, kind), on=forbidden)

    def kill(self):
        self.daemon.kill()
        self.daemon.popen.stdin.close()

    @property
    def alive(self):
        return self.daemon is not None and self.daemon.alive

    def stop(self):
        if self.alive:
            self.kill()


class Kubernetes(hub.Hub):
    """Implements Hub with API servers."""

    kind = "kubernetes"
    program = None  # path of the API server program; set by subclasses

    def __init__(self, base):
        super().__init__(base)
        self.servers = {}
        self.files = {}  # (server, file): keys of the objects written

    def start(self, topology):
        for name in [cluster.name for cluster in plan.CLUSTERS] + [FLEET]:
            host = plan.cluster("north" if name == FLEET else name)
            node = next(node for node in host.nodes if node.pods)
            self.servers[name] = ApiServer(name, self.program, topology.node(host.name, node.name),
                                           host.node_ipv4(node), FLEET_KINDS if name == FLEET else OWN_KINDS,
                                           self.folder)
            self.servers[name].start()

    def locations(self):
        return [f"hub      API server of {name}: {server.kubeconfig}" for name, server in self.servers.items()]

    def hint(self):
        return ""

    def hub_config(self, cluster):
        return (f"{{kubernetes: {{cluster: {self.servers[cluster].kubeconfig}, "
                f"fleet: {self.servers[FLEET].kubeconfig}}}}}", None)

    def write(self, name, documents):
        """Applies a file's objects and deletes those only in its previous version. `fleet/*` goes to every cluster."""
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
        """Assigns the VIPs of a service, with a ServiceImport in every cluster."""
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
        """Writes the objects that Azure Fleet's agents write for an exported Service."""
        fleet, ns = self.servers[FLEET], f"fleet-member-{cluster.name}"
        reference = {"clusterId": cluster.name, "namespace": "shop", "name": name}
        fleet.put({"apiVersion": NETWORKING, "kind": "InternalServiceExport",
                   "metadata": {"namespace": ns, "name": f"shop-{name}"},
                   "spec": {"ports": [{"name": port, "protocol": protocol, "port": number}
                                      for port, protocol, number, _ in ports], "serviceReference": reference},
                   "status": {"conditions": [{"type": "Conflict", "status": "False"}]}})
        fleet.put({"apiVersion": NETWORKING, "kind": "EndpointSliceExport",
                   "metadata": {"namespace": ns, "name": f"{cluster.name}-shop-{name}-abcde"},
                   "spec": {"addressType": "IPv4", "endpoints": [{"addresses": [pod.ipv4]} for pod in backends],
                            "ports": [{"name": port, "protocol": protocol, "port": number}
                                      for port, protocol, _, number in ports],
                            "endpointSliceReference": reference | {"name": f"{name}-ipv4", "uid": name},
                            "ownerServiceReference": {"namespace": "shop", "name": name}}})
        key = (collection(NETWORKING, "ServiceImport"), "shop", name)
        current = fleet.objects.get(key, {}).get("status", {}).get("clusters", [])
        if {"cluster": cluster.name} not in current:
            fleet.put({"apiVersion": NETWORKING, "kind": "ServiceImport",
                       "metadata": {"namespace": "shop", "name": name},
                       "status": {"clusters": current + [{"cluster": cluster.name}]}})

    def stop(self):
        for server in self.servers.values():
            server.stop()

    def daemons(self):
        return [server.daemon for server in self.servers.values() if server.daemon is not None]
