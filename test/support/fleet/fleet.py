"""The fleet as a whole: brings everything up, tells how to reach it, and takes everything down again."""

import ipaddress
import json
import os
import re
import shutil
import tempfile

from . import plan
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
    """Namespaces, hub, servers, resolvers and gateways. `prefix` starts the name of every namespace; `hub`: "file",
    "etcd" for a ClusterMesh, or a class of that kind.

    close() ends what this object started and removes what it made, whatever state that is in.
    """

    def __init__(self, program, prefix="ist-", settings=None, hub="file"):
        self.program = program
        self.prefix = prefix
        self.settings = settings or {}
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

    # Bringing up, in this order.

    def build(self):
        self.topology.build()
        self.hub.start(self.topology)
        self.hub.write_fleet()

    def start_servers(self):
        """The HTTP and UDP servers of every backend pod, and waits until they answer their own node."""
        for cluster in plan.CLUSTERS:
            for pod in cluster.pods():
                if pod.backend:
                    self._start(self.pod(cluster.name, pod.name), f"server-{pod.full_name}",
                                [PYTHON, f"{HERE}/pod_server.py", pod.full_name, str(cluster.http_port),
                                 str(UDP_ECHO_PORT)])
        for cluster in plan.CLUSTERS:
            for pod in cluster.pods():
                if pod.backend:
                    self._wait_listening(self.pod(cluster.name, pod.name), cluster.http_port)

    def start_gateways(self, names=None):
        """Starts the gateways (all, or those named) and waits until each answers."""
        chosen = [gateway for gateway in plan.gateways() if names is None or gateway.name in names]
        for gateway in chosen:
            process = GatewayProcess(gateway, self.node(gateway.cluster, gateway.node), self.program, self.folder,
                                     self.hub, self.settings)
            self.gateways[gateway.name] = process
            process.start(wait=False)
        for gateway in chosen:
            self.gateways[gateway.name].wait_ready()

    def start_resolvers(self):
        """One dnsmasq per cluster, on its first node with pods, serving what the cluster's gateways write."""
        for cluster in plan.CLUSTERS:
            node = next(node for node in cluster.nodes if node.pods)
            address = f"10.{cluster.id}.{node.index}.1"
            folders = [os.path.join(self.folder, "dns", gateway.name) for gateway in cluster.gateways]
            for folder in folders:
                os.makedirs(folder, exist_ok=True)
            space = self.node(cluster.name, node.name)
            self._start(space, f"dns-{cluster.name}",
                        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                         "--pid-file=", "--user=root", "--bind-interfaces", f"--listen-address={address}",
                         "--log-facility=-", "--local-ttl=1", f"--local=/{plan.DOMAIN}/",
                         *[f"--hostsdir={folder}" for folder in folders]])
            for pod in cluster.pods():
                self.pod(cluster.name, pod.name).resolver(address)

    def _start(self, space, name, args):
        daemon = space.start(name, args, os.path.join(self.folder, "log", f"{name}.log"))
        self.daemons.append(daemon)
        return daemon

    @staticmethod
    def _wait_listening(space, port):
        wait_until(lambda: f":{port} " in space.run(["ss", "-Hltn"]).stdout, what=f"{space.name} listens on {port}")

    # Reaching its parts.

    def node(self, cluster, name):
        return self.topology.node(cluster, name)

    def pod(self, cluster, name):
        return self.topology.pod(cluster, name)

    def allocate(self, service="shop/web", cluster="east"):
        """Claims a VIP of each pool for a service, with the command line, and returns the addresses."""
        pools = [word for pool in plan.VIP_POOLS for word in ("--pool", pool)]
        done = run([self.program, "allocate", service, "--hub", self.hub.folder_of(cluster), "--cluster", cluster,
                    *pools])
        addresses = [word for word in re.split(r"[\s,]+", done.stdout) if is_address(word)]
        if len(addresses) != len(plan.VIP_POOLS):
            raise CommandError(f"isthmus allocate gave no address of each pool:\n{done.stdout}")
        self.hub.claimed(cluster, service.split("/")[1], addresses)
        return addresses

    # What the gateways say.

    def live(self):
        return [gateway for gateway in self.gateways.values() if gateway.alive]

    def drops(self):
        """Drops of every live gateway: {gateway: {reason: packets}}."""
        return {gateway.name: gateway.drops() for gateway in self.live()}

    def drop_texts(self):
        """The operator's text of every drop reason."""
        return {row["name"]: row["text"] for gateway in self.live()[:1] for row in gateway.drop_rows()}

    def wait_peers(self, timeout=30.0):
        """Until every live gateway hears every live one of the other clusters."""
        def heard():
            return all({other.name for other in self.live() if other.gateway.cluster != gateway.gateway.cluster}
                       <= gateway.peers_heard() for gateway in self.live())
        wait_until(heard, timeout, what="all gateways hear each other")

    def wait_cluster_silent(self, cluster, timeout=30.0):
        """Until no live gateway of another cluster hears a gateway of `cluster`."""
        names = {gateway.name for gateway in plan.cluster(cluster).gateways}
        others = [gateway for gateway in self.live() if gateway.gateway.cluster != cluster]
        wait_until(lambda: not any(names & gateway.peers_heard() for gateway in others), timeout,
                   what=f"{cluster} is noticed to be silent")

    def wait_backends(self, service, expected, timeout=15.0, gateways=None):
        """Until every live gateway has exactly `expected` (addresses) as backends that take new connections."""
        def seen():
            return all(gateway.usable_backends(service) == set(expected)
                       for gateway in (gateways or self.live()))
        wait_until(seen, timeout, what=f"backends of {service}")

    def log_tails(self):
        """The last lines of every gateway's log, for someone who looks for a cause."""
        return [f"{gateway.name}: {line}" for gateway in self.gateways.values() if gateway.daemon
                for line in gateway.daemon.log_tail(12).splitlines()]

    # Taking down.

    def processes(self):
        running = [gateway.daemon for gateway in self.gateways.values() if gateway.daemon is not None] + self.daemons
        running += self.hub.daemons()
        return [daemon for daemon in running if daemon.alive]

    def close(self):
        """Returns what went wrong with gateways that ran until now: their name, exit status and last words."""
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
        """Writes down what a later `remove_recorded` needs to take this fleet down."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"folder": self.folder, "namespaces": self.topology.names(),
                       "processes": [[daemon.pid, daemon.ticks, daemon.name] for daemon in self.processes()]}, file)


def remove_recorded(path):
    """Takes down the fleet that record() wrote to `path`; returns False if there is none."""
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
