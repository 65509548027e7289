"""A ClusterMesh instead of the file hub: every cluster has an etcd holding what Cilium's clustermesh-apiserver would
publish there for the others. A cluster's gateways watch their own cluster's objects (in a folder that stands in for its
API server) and the etcds of the other clusters.

    hub/<cluster>/fleet, hub/<cluster>/clusters/<cluster>   manifests of one cluster: its Cluster, Gateways, pods, ...
    mesh/<cluster>/<other>                                  its gateways' etcd client configurations
    mesh/<cluster>-own.yaml                                 the same for their own cluster's etcd, to register in
"""

import base64
import ipaddress
import json
import os
import shlex

from . import hub, plan
from .etcd import GATEWAY, READER, Authority, Etcd

GATEWAY_SERVICE = ("kube-system", "isthmus-gateway")
STATES = ("nodes/v1", "identities/v1", "ip/v1", "services/v1")


def alloc_cidr(text):
    """A net.IPNet in Go's JSON encoding."""
    network = ipaddress.ip_network(text)
    return {"IP": str(network.network_address), "Mask": base64.b64encode(network.netmask.packed).decode()}


def node_value(cluster, node):
    without = cluster.name in plan.without_pod_cidrs
    ipv4, ipv6 = (None, None) if without else (alloc_cidr(subnet) for subnet in cluster.pod_subnets(node))
    return {"Name": f"{cluster.name}-{node.name}", "Cluster": cluster.name,
            "IPAddresses": [{"Type": "InternalIP", "IP": cluster.node_ipv4(node)}],
            "IPv4AllocCIDR": ipv4, "IPv4SecondaryAllocCIDRs": None, "IPv6AllocCIDR": ipv6,
            "IPv6SecondaryAllocCIDRs": None, "IPv4HealthIP": "", "IPv6HealthIP": "", "IPv4IngressIP": "",
            "IPv6IngressIP": "", "ClusterID": cluster.id, "Source": "custom-resource", "EncryptionKey": 0,
            "Labels": None, "Annotations": None, "WireguardPubKey": "", "BootID": ""}


def address_value(cluster, pod, address):
    return {"IP": address, "Mask": None, "HostIP": cluster.node_ipv4(cluster.node(pod.node)), "ID": pod.identity,
            "Key": 0, "Metadata": "", "K8sNamespace": "shop", "K8sPodName": pod.name, "K8sServiceAccount": "default"}


def identity_value(cluster, app):
    return (f"k8s:app={app};k8s:io.cilium.k8s.policy.cluster={cluster.name};"
            "k8s:io.cilium.k8s.policy.serviceaccount=default;k8s:io.kubernetes.pod.namespace=shop;")


def vip_label(addresses):
    """The value of the label isthmus.io/vip. Label values may contain neither colons nor commas."""
    return "_".join(address.replace(":", "-") for address in addresses)


def service_value(cluster, ns, name, frontends, backends, labels=None):
    """`frontends`, `backends`: {address: {port name: (protocol, number)}}."""
    def ports(side):
        return {address: {port: {"Protocol": protocol, "Port": number} for port, (protocol, number) in of.items()}
                for address, of in side.items()}
    return {"cluster": cluster.name, "namespace": ns, "name": name, "frontends": ports(frontends),
            "backends": ports(backends), "labels": labels or {}, "selector": {}, "includeExternal": True,
            "shared": True, "clusterID": cluster.id}


class Mesh(hub.Hub):
    """Implements Hub with etcds."""

    kind = "etcd"

    def __init__(self, folder):
        super().__init__(folder)
        self.base = folder
        self.etcds = {}
        self.beats = []   # the processes of beat()
        self.claims = {}  # (cluster, service): addresses
        self.published = {cluster.name: {} for cluster in plan.CLUSTERS}

    def start(self, topology):
        """Starts an etcd in each cluster, and writes the gateways' client configurations for them."""
        authority = Authority(os.path.join(self.base, "pki"))
        for name in ("root", READER, GATEWAY):
            authority.sign(name)
        for cluster in plan.CLUSTERS:
            node = cluster.home
            self.etcds[cluster.name] = Etcd(cluster.name, topology.node(cluster.name, node.name),
                                            cluster.node_ipv4(node), authority, self.base)
        for cluster in plan.CLUSTERS:
            os.makedirs(self.clients(cluster.name))
            with open(self.own_client(cluster.name), "w", encoding="ascii") as file:
                file.write(authority.client_config(self.etcds[cluster.name].url, GATEWAY))
            for other in plan.CLUSTERS:
                if other is not cluster:
                    with open(os.path.join(self.clients(cluster.name), other.name), "w", encoding="ascii") as file:
                        file.write(authority.client_config(self.etcds[other.name].url, READER))
        for etcd in self.etcds.values():
            etcd.start()

    def locations(self):
        return [f"hub      etcd of {name}: {etcd.url} (data in the format of Cilium's clustermesh-apiserver)"
                for name, etcd in self.etcds.items()]

    def hint(self):
        etcd = self.etcds["west"]
        command = " ".join(etcd.command("get", "--prefix", "cilium/", "--keys-only"))
        return f"  nsenter --net={etcd.netns.path} {command}"

    def clients(self, cluster):
        """The folder of a cluster's gateways' etcd client configurations."""
        return os.path.join(self.base, "mesh", cluster)

    def own_client(self, cluster):
        """The etcd client configuration with which its gateways register themselves."""
        return os.path.join(self.base, "mesh", f"{cluster}-own.yaml")

    def folder_of(self, cluster):
        return os.path.join(self.folder, cluster)

    def locate(self, name):
        """The path of a file of the hub (clusters/<cluster>/...)."""
        return os.path.join(self.folder_of(name.split("/")[1]), name)

    def hub_config(self, cluster):
        return (f"{{file: {{path: {self.folder_of(cluster)}}}, etcd: {{clusters: {self.clients(cluster)}, "
                f"register: {self.own_client(cluster)}, encapsulation: {plan.encapsulation}}}}}",
                plan.cluster(cluster).id)

    def write_fleet(self):
        for cluster in plan.CLUSTERS:
            name = f"{cluster.name}/fleet/fleet.yaml"
            documents = [hub.cluster_manifest(cluster)]
            documents += [hub.gateway_manifest(gateway) for gateway in cluster.gateways]
            self.write_at(os.path.join(self.folder, name), documents)
            self.write_pods(cluster)
            self.publish(cluster)

    def publish(self, cluster):
        """Publishes a cluster to the others: configuration, state, and a synced key for each kind of state."""
        puts = {f"cilium/cluster-config/{cluster.name}": json.dumps(
            {"id": cluster.id, "capabilities": {"syncedCanaries": True, "maxConnectedClusters": 255}}),
                "cilium/.heartbeat": "2026-01-01T00:00:00Z"}
        puts |= self.state(cluster)
        puts |= self.published[cluster.name]
        self.etcds[cluster.name].write(puts)
        self.etcds[cluster.name].write({f"cilium/synced/{cluster.name}/cilium/state/{part}": "2026-01-01T00:00:00Z"
                                        for part in STATES})

    def state(self, cluster):
        prefix = "cilium/state/"
        puts = {f"{prefix}nodes/v1/{cluster.name}/{cluster.name}-{node.name}": json.dumps(node_value(cluster, node))
                for node in cluster.nodes}
        for app in ("web", "client"):
            puts[f"{prefix}identities/v1/id/{cluster.identity(app)}"] = identity_value(cluster, app)
        for pod in cluster.pods():
            for address in (pod.ipv4, pod.ipv6):
                puts[f"{prefix}ip/v1/default/{address}"] = json.dumps(address_value(cluster, pod, address))
        gateways = service_value(cluster, *GATEWAY_SERVICE, {},
                                 {gateway.underlay: {plan.encapsulation: ("UDP", plan.TUNNEL_PORTS[plan.encapsulation])}
                                  for gateway in cluster.gateways})
        gateways["hostnames"] = {gateway.underlay: gateway.name for gateway in cluster.gateways}
        puts["{}services/v1/{}/{}/{}".format(prefix, cluster.name, *GATEWAY_SERVICE)] = json.dumps(gateways)
        return puts

    def write_service(self, cluster, name="web", backends=None, exported=True, annotations=None, drained=False,
                      ports=None):
        super().write_service(cluster, name, backends, exported, annotations, drained, ports)
        if backends is None:
            backends = [pod for pod in cluster.pods() if pod.backend]
        ports = ports or hub.web_ports(cluster)
        key = f"cilium/state/services/v1/{cluster.name}/shop/{name}"
        published = self.published[cluster.name]
        if not exported:
            published.pop(key, None)
            self.etcds[cluster.name].write({}, [key])
            return
        front = {port: (protocol, number) for port, protocol, number, _ in ports}
        back = {port: (protocol, number) for port, protocol, _, number in ports}
        claim = self.claims.get((cluster.name, name))
        published[key] = json.dumps(service_value(
            cluster, "shop", name, {f"172.20.{cluster.id}.1": front},
            {address: back for pod in backends for address in (pod.ipv4, pod.ipv6) if address},
            {"isthmus.io/vip": vip_label(claim)} if claim else {}))
        self.etcds[cluster.name].write({key: published[key]})

    def record_claim(self, cluster, service, addresses):
        """The next write_service() publishes the VIPs with the Service."""
        self.claims[(cluster, service)] = addresses

    def beat(self):
        """Has the heartbeat of every hub renewed, as clustermesh-apiserver does: a hub without one counts as gone."""
        for name, etcd in self.etcds.items():
            put = shlex.join(etcd.command("put", "cilium/.heartbeat"))
            self.beats.append(etcd.netns.start(f"heartbeat-{name}", [
                "sh", "-c", f"while :; do {put} $(date +%s) > /dev/null; sleep 30; done"], etcd.log))

    def stop(self):
        for beat in self.beats:
            beat.stop()
        for etcd in self.etcds.values():
            if etcd.daemon is not None:
                etcd.stop()

    def daemons(self):
        return self.beats + [etcd.daemon for etcd in self.etcds.values() if etcd.daemon is not None]
