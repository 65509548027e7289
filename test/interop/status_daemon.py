"""Two gateways of cluster east, each in a network namespace, that follow one kube-apiserver as a user with RBAC."""

import ctypes
import json
import os
import socket
import sys
import tempfile

import api_extensions
import kube_apiserver

sys.path.insert(0, os.path.join(api_extensions.HERE, "..", "support"))

from fleet.netns import NODE_SYSCTLS, Namespace, connect  # noqa: E402
from fleet.shell import run  # noqa: E402

CLONE_NEWNET = 0x40000000
USER = "gateway"
READ, STATUS, EVENTS = "isthmus-read", "isthmus-status", "isthmus-events"
KINDS = ["clusters", "gateways", "crossclusternetworkprofiles"]
ROLES = {  # as control/source/README.md has them
    READ: [{"apiGroups": [""], "resources": ["namespaces", "services", "pods", "nodes"], "verbs": ["list", "watch"]},
           {"apiGroups": ["discovery.k8s.io", "networking.k8s.io", "cilium.io", "multicluster.x-k8s.io", "isthmus.io",
                          "networking.fleet.azure.com", "policy.networking.k8s.io"],
            "resources": ["*"], "verbs": ["list", "watch"]}],
    STATUS: [{"apiGroups": ["isthmus.io"], "resources": [f"{kind}/status" for kind in KINDS], "verbs": ["patch"]}],
    EVENTS: [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}],
}


def enter(path):
    """Moves this thread, and the threads and processes it starts from now on, into a network namespace."""
    with open(path, encoding="ascii") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


class StatusFleet:
    """The server and the namespaces; gateways are started by start_gateway()."""

    def __init__(self, server_program, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="ist-status-", dir="/run")
        self.spaces = [Namespace(f"ist-t{os.getpid()}-{name}", NODE_SYSCTLS) for name in ("status1", "status2")]
        connect(self.spaces[0], "eth0", self.spaces[1], "eth0")
        for number, space in enumerate(self.spaces, 1):
            space.ip(f"addr add 192.0.1.{number}/24 dev eth0", f"route add default via 192.0.1.{3 - number}")
        enter(self.spaces[0].path)
        self.hub = kube_apiserver.KubeApiServer(server_program)
        self.proxy = api_extensions.Proxy(socket.create_server(("192.0.1.1", 0)))
        self.daemons = {}

    def start_server(self):
        self.hub.start()
        self.proxy.target = self.hub.proxy.target
        for kind, plural, namespaced in (("CiliumNetworkPolicy", "ciliumnetworkpolicies", True),
                                         ("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", False)):
            self.hub.install("cilium.io", "v2", kind, namespaced, plural)
        self.hub.install_ours()
        for name, rules in ROLES.items():
            self.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                        "rules": rules})
            self.bind(name)

    def bind(self, role):
        self.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                    "metadata": {"name": role},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}]})

    def kubectl(self, *words, stdin=None, check=True):
        return run(["kubectl", "--kubeconfig", self.hub.kubeconfig, "--cache-dir",
                    os.path.join(self.folder, "cache"), *words], stdin=stdin, check=check).stdout

    def apply(self, *objects):
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    def start_gateway(self, number):
        name = f"east-{number}"
        with open(self.hub.kubeconfig, encoding="utf-8") as file:
            access = json.load(file)
        access["users"][0]["user"]["as"] = USER
        for path in ("certificate-authority",):
            access["clusters"][0]["cluster"][path] = os.path.join(self.hub.folder, "ca.crt")
        access["users"][0]["user"]["tokenFile"] = os.path.join(self.hub.folder, "token")
        access["clusters"][0]["cluster"]["server"] = f"https://192.0.1.1:{self.proxy.port}"
        kubeconfig = os.path.join(self.folder, f"{name}.kubeconfig")
        with open(kubeconfig, "w", encoding="utf-8") as file:
            json.dump(access, file)
        config = os.path.join(self.folder, f"{name}.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"""\
gateway: {{name: {name}, cluster: east}}
engine: {{workers: 1, idle: sleep, connections: 4096}}
devices: {{underlay: {{interface: eth0}}, local: {{interface: isthmus0, veth: true}}}}
hub: {{kubernetes: {{cluster: {kubeconfig}}}}}
admission: {{node_ranges: [192.0.0.0/16]}}
admin: {{socket: {self.folder}/{name}.sock, group: root}}
state: {{directory: {self.folder}, last_known_directory: {self.folder}/known-{name}}}
""")
        self.daemons[name] = self.spaces[number - 1].start(
            name, [self.program, "run", "-c", config], os.path.join(self.folder, f"{name}.log"))

    def ask(self, name, question):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect(os.path.join(self.folder, f"{name}.sock"))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as answer:
                return json.loads(answer.readline())

    def problems(self, name):
        return [f"{row['what']} ({row['fix']})" for row in self.ask(name, {"command": "status"})["status"]["problems"]]

    def page(self, number, path):
        """(HTTP status, body) of a page of gateway `number`."""
        text = self.spaces[number - 1].run(
            ["curl", "-s", "-w", "\n%{http_code}", f"http://127.0.0.1:9979{path}"]).stdout
        body, _, status = text.rpartition("\n")
        return int(status), body
