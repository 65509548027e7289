"""The file hub: a folder of manifests that all gateways of the fleet watch.

    fleet/fleet.yaml                         clusters, gateways and the profile that links them
    clusters/<cluster>/pods.yaml             nodes, pods and their identities
    clusters/<cluster>/<ns>-<service>.yaml   a Service and its EndpointSlices
"""

import os

from . import plan

UDP_ECHO_PORT = 7000


def web_ports(cluster):
    """Ports of service shop/web: name, protocol, service port, port of this cluster's backends."""
    return (("http", "TCP", 80, cluster.http_port), ("echo", "UDP", 7, UDP_ECHO_PORT))


class Hub:
    """The file hub, and the interface of the others: Mesh (mesh.py) and Kubernetes (kubernetes.py)."""

    def __init__(self, base):
        self.folder = os.path.join(base, "hub")

    kind = "file"

    def start(self, topology):
        """Starts the hub's servers, if it has any. Call once the network namespaces exist."""

    def locations(self):
        """Where the hub's data is: a line of output for each location."""
        return [f"hub      folder of manifests: {self.folder}"]

    def hint(self):
        """A command that shows or changes the hub's data, for the quickstart's hints."""
        return f"  $EDITOR {self.locate('clusters/east/shop-web.yaml')}     # gateways reload it when it changes"

    def beat(self):
        """Has heartbeats renewed, where the hub has any, for a fleet that stays longer than a minute."""

    def stop(self):
        """Stops what start() and beat() started."""

    def daemons(self):
        return []

    def folder_of(self, cluster):  # pylint: disable=unused-argument
        """The folder of manifests that a cluster's gateways watch."""
        return self.folder

    def hub_config(self, cluster):
        """The `hub` section of a gateway's configuration, and its cluster_id, or None if the hub publishes it."""
        return f"{{file: {{path: {self.folder_of(cluster)}}}}}", None

    def record_claim(self, cluster, service, addresses):
        """Called after VIPs were allocated for a service of that cluster."""

    def locate(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, documents):
        """Replaces one file of the hub atomically."""
        self.write_at(self.locate(name), documents)

    @staticmethod
    def write_at(path, documents):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        hidden = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
        with open(hidden, "w", encoding="utf-8") as file:
            file.write("---\n".join(documents))
        os.rename(hidden, path)

    def remove(self, name):
        os.remove(self.locate(name))

    def write_fleet(self):
        documents = [cluster_manifest(cluster) for cluster in plan.CLUSTERS]
        documents += [gateway_manifest(gateway) for gateway in plan.gateways()]
        documents.append(profile_manifest(plan.CLUSTERS))
        self.write("fleet/fleet.yaml", documents)
        for cluster in plan.CLUSTERS:
            self.write_pods(cluster)

    def write_pods(self, cluster):
        documents = [namespace_manifest("shop")]
        documents += [node_manifest(cluster, node) for node in cluster.nodes]
        for app in ("web", "client"):
            documents.append(identity_manifest(cluster, app))
        for pod in cluster.pods():
            documents += [pod_manifest(cluster, pod), cilium_endpoint_manifest(cluster, pod)]
        self.write(f"clusters/{cluster.name}/pods.yaml", documents)

    def write_service(self, cluster, name="web", backends=None, exported=True, annotations=None, drained=False,
                      ports=None, spec=""):
        """A Service in namespace shop with the given pods behind it (all backends of the cluster by default).

        `exported`: annotated as global. `drained`: its slices have weight 0. `ports`: in the format of web_ports().
        `spec`: more of the Service's spec, in YAML's flow style: "sessionAffinity: ClientIP".
        """
        if backends is None:
            backends = [pod for pod in cluster.pods() if pod.backend]
        ports = ports or web_ports(cluster)
        service_annotations = dict(annotations or {})
        if exported:
            service_annotations["service.cilium.io/global"] = "true"
        slice_annotations = {"service.cilium.io/weight": "0"} if drained else {}
        documents = [service_manifest(name, service_annotations, ports, spec)]
        for family in ("IPv4", "IPv6"):
            documents.append(slice_manifest(cluster, name, backends, family, slice_annotations, ports))
        self.write(f"clusters/{cluster.name}/shop-{name}.yaml", documents)


def cluster_manifest(cluster):
    listed = [] if cluster.name in plan.without_pod_cidrs else cluster.pod_cidrs
    cidrs = ", ".join(f'"{cidr}"' for cidr in listed)
    return f"""\
apiVersion: isthmus.io/v1alpha1
kind: Cluster
metadata: {{name: {cluster.name}}}
spec:
  id: {cluster.id}
  podCIDRs: [{cidrs}]
"""


def gateway_manifest(gateway, addresses=None):
    """`addresses`: other underlay addresses than the plan's."""
    if addresses is None:
        addresses = plan.underlay_addresses(plan.cluster(gateway.cluster), gateway)
    listed = ", ".join(f'"{address}"' for address in addresses)
    return f"""\
apiVersion: isthmus.io/v1alpha1
kind: Gateway
metadata: {{name: {gateway.name}}}
spec:
  cluster: {gateway.cluster}
  underlayAddress: [{listed}]
  port: {plan.TUNNEL_PORTS[plan.encapsulation]}
  encapsulation: {plan.encapsulation}
"""


def profile_manifest(clusters):
    members = ", ".join(member_entry(cluster) for cluster in clusters if cluster.alias)
    return f"""\
apiVersion: isthmus.io/v1alpha1
kind: CrossClusterNetworkProfile
metadata: {{name: fleet}}
spec:
  clusters: [{", ".join(cluster.name for cluster in clusters)}]
  maxConnectedClusters: {plan.max_connected_clusters}
  members: [{members}]
"""


def member_entry(cluster):
    """What a profile says of a cluster with aliases."""
    pods, aliases = ([f'"{cidr}"' for cidr in cidrs] for cidrs in (cluster.pod_cidrs, cluster.fleet_cidrs))
    return f"{{cluster: {cluster.name}, podCIDRs: [{', '.join(pods)}], aliasCIDRs: [{', '.join(aliases)}]}}"


def namespace_manifest(name):
    return f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {name}}}
"""


def zone_of(node):
    """The zone of a node's name: each has its own."""
    return f"zone-of-{node}"


def node_manifest(cluster, node):
    subnets = cluster.pod_subnets(node)
    spec = f"""\
spec:
  podCIDR: {subnets[0]}
  podCIDRs: [{subnets[0]}, "{subnets[1]}"]
"""
    return f"""\
apiVersion: v1
kind: Node
metadata: {{name: {cluster.name}-{node.name}, labels: {{topology.kubernetes.io/zone: {zone_of(node.name)}}}}}
{"" if cluster.name in plan.without_pod_cidrs else spec}status:
  addresses:
  - {{type: InternalIP, address: {cluster.node_ipv4(node)}}}
"""


def identity_manifest(cluster, app):
    return f"""\
apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {{name: "{cluster.identity(app)}"}}
security-labels:
  k8s:app: {app}
  k8s:io.kubernetes.pod.namespace: shop
  k8s:io.cilium.k8s.policy.cluster: {cluster.name}
"""


def pod_manifest(cluster, pod):
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {pod.name}, namespace: shop, labels: {{app: {"web" if pod.backend else "client"}}}}}
spec: {{nodeName: {cluster.name}-{pod.node}}}
status:
  podIP: {pod.ipv4}
  podIPs: [{{ip: {pod.ipv4}}}, {{ip: "{pod.ipv6}"}}]
"""


def cilium_endpoint_manifest(cluster, pod):
    return f"""\
apiVersion: cilium.io/v2
kind: CiliumEndpoint
metadata: {{name: {pod.name}, namespace: shop}}
status:
  identity: {{id: {pod.identity}}}
  networking:
    node: {cluster.node_ipv4(cluster.node(pod.node))}
    addressing:
    - {{ipv4: {pod.ipv4}, ipv6: "{pod.ipv6}"}}
"""


def annotation_lines(annotations):
    if not annotations:
        return ""
    return "  annotations:\n" + "".join(f'    {key}: "{value}"\n' for key, value in annotations.items())


def service_manifest(name, annotations, ports, spec=""):
    lines = "".join(f"  - {{name: {port}, protocol: {protocol}, port: {number}, targetPort: {port}}}\n"
                    for port, protocol, number, _ in ports)
    return f"""\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: shop
{annotation_lines(annotations)}spec:
  selector: {{app: web}}
  ports:
{lines}{"".join(f"  {line}{chr(10)}" for line in spec.split("; ") if line)}"""


def slice_manifest(cluster, service, backends, family, annotations, ports):
    lines = "".join(f"- {{name: {port}, protocol: {protocol}, port: {number}}}\n"
                    for port, protocol, _, number in ports)
    at = [(pod.node, pod.ipv4 if family == "IPv4" else pod.ipv6) for pod in backends]
    at = [(node, address) for node, address in at if address]
    if at:
        endpoints = "endpoints:\n" + "".join(
            f'- addresses: ["{address}"]\n'
            f"  nodeName: {cluster.name}-{node}\n"
            f"  zone: {zone_of(node)}\n"
            "  conditions: {ready: true, serving: true, terminating: false}\n" for node, address in at)
    else:
        endpoints = "endpoints: []\n"
    return f"""\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}-{family.lower()}
  namespace: shop
  labels: {{kubernetes.io/service-name: {service}}}
{annotation_lines(annotations)}addressType: {family}
ports:
{lines}{endpoints}"""
