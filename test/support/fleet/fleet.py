"""The fleet as a whole: brings it up, gives access to its parts and takes it down."""

import ipaddress
import json
import os
import re
import shutil
import tempfile

from . import dpdk, plan
from .gateway import GatewayProcess
from .hub import UDP_ECHO_PORT, Hub
from .mesh import Mesh
from .netns import remove_namespace
from .shell import CommandError, end_process, run, wait_until
from .topology import Topology

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"


def is_address(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False


class Fleet:
    """Network namespaces, hub, servers, resolvers and gateways. Every namespace's name starts with `prefix`. `hub`:
    "file", "etcd" (a ClusterMesh), or a subclass of Hub.

    close() stops all processes and removes everything that this object created, in whatever state it is.
    """

    def __init__(self, program, prefix="ist-", settings=None, hub="file"):
        self.program = program
        self.prefix = prefix
        self.settings = dpdk.settings_of(settings or {}) if dpdk.everywhere() else settings or {}
        self.folder = tempfile.mkdtemp(prefix="isthmus-fleet-", dir="/run" if os.path.isdir("/run") else None)
        self.topology = Topology(prefix)
        make_hub = {"file": Hub, "etcd": Mesh}.get(hub, hub)
        self.hub = make_hub(self.folder)
        self.gateways = {}
        self.daemons = []
        os.makedirs(os.path.join(self.folder, "log"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Start-up, in this order.

    def build(self):
        self.topology.build()
        self.hub.start(self.topology)
        self.hub.write_fleet()

    def start_servers(self):
        """Starts the HTTP and UDP servers of every backend pod and waits until they listen."""
        for cluster in plan.CLUSTERS:
            for pod in cluster.pods():
                if pod.backend:
                    self._serve(self.pod(cluster.name, pod.name), pod.full_name, cluster.http_port)
        for cluster in plan.CLUSTERS:
            for pod in cluster.pods():
                if pod.backend:
                    self._wait_listening(self.pod(cluster.name, pod.name), cluster.http_port)

    def serve(self, pod):
        """Starts the servers of one backend pod, if they do not run, and waits until they listen."""
        netns, port = self.pod(pod.cluster, pod.name), plan.cluster(pod.cluster).http_port
        if not any(daemon.name == f"server-{pod.full_name}" and daemon.alive for daemon in self.daemons):
            self._serve(netns, pod.full_name, port)
        self._wait_listening(netns, port)

    def stop_server(self, full_name):
        """Ends the servers of a backend pod: its ports are closed."""
        for daemon in self.daemons:
            if daemon.name == f"server-{full_name}":
                daemon.stop()

    def start_host_server(self, pod):
        """The same for a backend on its node's network."""
        netns, port = self.node(pod.cluster, pod.node), plan.cluster(pod.cluster).http_port
        self._serve(netns, pod.full_name, port)
        self._wait_listening(netns, port)

    def start_gateways(self, names=None):
        """Starts the gateways (all, or those in `names`) and waits until each is ready."""
        chosen = [gateway for gateway in plan.gateways() if names is None or gateway.name in names]
        for gateway in chosen:
            process = GatewayProcess(gateway, self.node(gateway.cluster, gateway.node), self.program, self.folder,
                                     self.hub, self.settings)
            self.gateways[gateway.name] = process
            process.start(wait=False)
        for gateway in chosen:
            self.gateways[gateway.name].wait_ready()

    def start_resolvers(self):
        """One dnsmasq per cluster, on its first node with pods, serving the DNS records that the gateways write."""
        for cluster in plan.CLUSTERS:
            node = cluster.home
            address = cluster.node_pod_gateway(node)
            folders = [os.path.join(self.folder, "dns", gateway.name) for gateway in cluster.gateways]
            for folder in folders:
                os.makedirs(folder, exist_ok=True)
            netns = self.node(cluster.name, node.name)
            self._start(netns, f"dns-{cluster.name}",
                        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                         "--pid-file=", "--user=root", "--bind-interfaces", f"--listen-address={address}",
                         "--log-facility=-", "--local-ttl=1", f"--local=/{plan.DOMAIN}/",
                         *[f"--hostsdir={folder}" for folder in folders]])
            for pod in cluster.pods():
                self.pod(cluster.name, pod.name).resolver(address)

    def _serve(self, netns, name, port):
        self._start(netns, f"server-{name}", [PYTHON, f"{HERE}/pod_server.py", name, str(port), str(UDP_ECHO_PORT)])

    def _start(self, netns, name, args):
        daemon = netns.start(name, args, os.path.join(self.folder, "log", f"{name}.log"))
        self.daemons.append(daemon)
        return daemon

    @staticmethod
    def _wait_listening(netns, port):
        wait_until(lambda: f":{port} " in netns.run(["ss", "-Hltn"]).stdout, what=f"{netns.name} listens on {port}")

    # Access to the parts.

    def node(self, cluster, name):
        return self.topology.node(cluster, name)

    def pod(self, cluster, name):
        return self.topology.pod(cluster, name)

    def allocate(self, service="shop/web", cluster="east"):
        """Allocates a VIP from each pool for a service with `isthmus allocate`, and returns the addresses."""
        pools = [word for pool in plan.VIP_POOLS for word in ("--pool", pool)]
        done = run([self.program, "allocate", service, "--hub", self.hub.folder_of(cluster), "--cluster", cluster,
                    *pools])
        addresses = [word for word in re.split(r"[\s,]+", done.stdout) if is_address(word)]
        if len(addresses) != len(plan.VIP_POOLS):
            raise CommandError(f"isthmus allocate did not return one address per pool:\n{done.stdout}")
        self.hub.record_claim(cluster, service.split("/")[1], addresses)
        return addresses

    # State reported by the gateways.

    def live(self):
        return [gateway for gateway in self.gateways.values() if gateway.alive]

    def drops(self):
        """Dropped packets of every live gateway: {gateway: {reason: packets}}."""
        return {gateway.name: gateway.drops() for gateway in self.live()}

    def drop_texts(self):
        """The description of every drop reason."""
        return {row["name"]: row["text"] for gateway in self.live()[:1] for row in gateway.drop_rows()}

    def wait_peers(self, timeout=30.0):
        """Waits until every live gateway sees every live gateway of the other clusters as alive."""
        def connected():
            return all({other.name for other in self.live() if other.gateway.cluster != gateway.gateway.cluster}
                       <= gateway.live_peers() for gateway in self.live())
        wait_until(connected, timeout, what="all gateways reach each other")

    def wait_cluster_unreachable(self, cluster, timeout=30.0):
        """Waits until no gateway of another cluster sees a gateway of `cluster` as alive."""
        names = {gateway.name for gateway in plan.cluster(cluster).gateways}
        others = [gateway for gateway in self.live() if gateway.gateway.cluster != cluster]
        wait_until(lambda: not any(names & gateway.live_peers() for gateway in others), timeout,
                   what=f"{cluster} is detected as unreachable")

    def wait_backends(self, service, expected, timeout=15.0, gateways=None):
        """Waits until every live gateway has exactly the addresses `expected` as usable backends."""
        def matches():
            return all(gateway.usable_backends(service) == set(expected)
                       for gateway in (gateways or self.live()))
        wait_until(matches, timeout, what=f"backends of {service}")

    def log_tails(self):
        """The last lines of every gateway's log, for diagnosis."""
        return [f"{gateway.name}: {line}" for gateway in self.gateways.values() if gateway.daemon
                for line in gateway.daemon.log_tail(12).splitlines()]

    # Tear-down.

    def processes(self):
        running = [gateway.daemon for gateway in self.gateways.values() if gateway.daemon is not None] + self.daemons
        running += self.hub.daemons()
        return [daemon for daemon in running if daemon.alive]

    def close(self):
        """Removes everything. Returns, for each gateway that did not exit cleanly, name, exit status and log tail."""
        failed = []
        for gateway in self.gateways.values():
            if gateway.alive and gateway.stop() != 0:
                failed.append(f"{gateway.name}: exit {gateway.daemon.popen.returncode}\n{gateway.daemon.log_tail(40)}")
        for daemon in self.daemons:
            daemon.stop()
        self.hub.stop()
        self.topology.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        return failed

    def record(self, path):
        """Saves what remove_recorded() needs to remove this fleet from another process."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"folder": self.folder, "namespaces": self.topology.names(),
                       "processes": [[daemon.pid, daemon.ticks, daemon.name] for daemon in self.processes()]}, file)


def remove_recorded(path):
    """Removes the fleet that record() saved to `path`; returns False if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        return False
    for pid, ticks, _ in record["processes"]:
        end_process(pid, ticks)
    for name in record["namespaces"]:
        remove_namespace(name)
    shutil.rmtree(record["folder"], ignore_errors=True)
    os.remove(path)
    return True
