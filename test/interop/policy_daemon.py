"""A gateway of cluster east in a network namespace of its own: answers `isthmus policy trace` about a case."""

import json
import os
import shutil
import socket
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

from fleet.netns import NODE_SYSCTLS, Namespace  # noqa: E402
from fleet.shell import CommandError, wait_until  # noqa: E402
from policy_cases import fleet_manifest, manifest  # noqa: E402

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
CLUSTERS = {"east": 1, "west": 2}


def fleet_objects():
    for name, number in CLUSTERS.items():
        yield {"apiVersion": "isthmus.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
               "spec": {"id": number, "podCIDRs": [f"10.{number}.0.0/16"], "nodeCIDRs": [f"192.0.{number}.0/24"]}}
        yield {"apiVersion": "isthmus.io/v1alpha1", "kind": "Gateway", "metadata": {"name": f"{name}-1"},
               "spec": {"cluster": name, "underlayAddress": f"192.0.{number}.1"}}
    yield {"apiVersion": "isthmus.io/v1alpha1", "kind": "CrossClusterNetworkProfile", "metadata": {"name": "fleet"},
           "spec": {"clusters": list(CLUSTERS)}}


class PolicyDaemon:
    """An `isthmus run` process with a folder as its hub, which follows each case that it is asked about."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="ist-policy-", dir="/run" if os.path.isdir("/run") else None)
        self.socket = os.path.join(self.folder, "east-1.sock")
        self.netns = Namespace(f"ist-t{os.getpid()}-policy", NODE_SYSCTLS)
        self.daemon, self.files, self.told = None, {}, 0

    def start(self):
        self.netns.ip("link add eth0 type veth peer name router", "link set router up", "link set eth0 up",
                      "addr add 192.0.1.1/24 dev eth0", "addr add 192.0.1.254/24 dev router",
                      "route add default via 192.0.1.254")
        for folder in ("fleet", *(os.path.join("clusters", name) for name in CLUSTERS)):
            os.makedirs(os.path.join(self.folder, "hub", folder))
        self.write("fleet/fleet.yaml", manifest(fleet_objects()))
        config = os.path.join(self.folder, "east-1.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"""\
gateway: {{name: east-1, cluster: east}}
engine: {{workers: 1, idle: sleep, connections: 4096}}
devices: {{underlay: {{interface: eth0}}, local: {{interface: isthmus0, veth: true}}}}
hub: {{file: {{path: {self.folder}/hub}}}}
admission: {{node_ranges: [192.0.0.0/16]}}
admin: {{socket: {self.socket}, group: root}}
state: {{directory: {self.folder}, last_known_directory: {self.folder}/known}}
""")
        self.daemon = self.netns.start("east-1", [self.program, "run", "-c", config],
                                       os.path.join(self.folder, "east-1.log"))

    def write(self, name, text):
        """Replaces the file at once, where it is another one."""
        if self.files.get(name) == text:
            return
        path = os.path.join(self.folder, "hub", name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)
        self.files[name] = text

    def tell(self, case):
        """Makes the hub what the case says, and waits until the gateway has all of it."""
        self.told += 1
        self.write("clusters/east/policies.yaml",
                   manifest(case["policies"] + case["groups"] + [self.mark("policies", "10.1.250.1")]))
        for cluster, number in CLUSTERS.items():
            self.write(f"clusters/{cluster}/pods.yaml", fleet_manifest(case["fleet"], cluster) +
                       manifest([self.mark("pods", f"10.{number}.250.2")]))
        wait_until(self.has_all, 30, 0.005, "the gateway has the case")

    def mark(self, what, address):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{what}-{self.told}", "namespace": "mark"},
                "spec": {}, "status": {"podIP": address}}

    def has_all(self):
        if not self.daemon.alive:
            raise CommandError(f"the gateway exited:\n{self.daemon.log_tail(40)}")
        return all(self.ask({"command": "policy", "endpoint": f"{cluster}/mark/{what}-{self.told}"})["ok"]
                   for cluster, what in (("east", "policies"), ("east", "pods"), ("west", "pods")))

    def ask(self, question):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(20)
                connection.connect(self.socket)
                connection.sendall(json.dumps(question).encode() + b"\n")
                with connection.makefile("rb") as answer:
                    return json.loads(answer.readline())
        except (FileNotFoundError, ConnectionRefusedError) as error:  # before it listens
            return {"ok": False, "error": str(error)}

    def passes(self, case, packet):
        """"1" or "0", as the other programs answer; a packet is [from, to, protocol, port or ICMP type]."""
        source, to, protocol, port = packet
        answer = self.ask({"command": "policy", "from": case["fleet"][source]["address"],
                           "to": case["fleet"][to]["address"], "port": f"{port}/{PROTOCOLS[protocol]}"})
        return {"allowed": "1", "denied": "0"}[answer["policy"]["verdict"]]

    def close(self):
        """Ends it and removes everything; its exit status and the end of its log."""
        if self.daemon is not None:
            self.daemon.stop(timeout=20)
        self.netns.remove()
        end = (self.daemon.popen.returncode, self.daemon.log_tail(40)) if self.daemon else (0, "")
        shutil.rmtree(self.folder, ignore_errors=True)
        return end
