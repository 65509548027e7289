"""A node of Cilium: cilium-agent in a network namespace, and the API server of its cluster.

The agent is built from Cilium's Go module and compiles the BPF programs that come with it. It has a mount namespace
with a BPF and a control group file system of its own, so that what it pins and mounts goes with it.
"""

import glob
import http.client
import json
import os
import shutil
import socket
import unittest

import api_extensions
import go_program
import kube_apiserver
from fleet.shell import CommandError, run, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CLANG = "clang-19"  # Debian's default is too old for the agent's programs
MODULE = "github.com/cilium/cilium"
KINDS = "pkg/k8s/apis/cilium.io/client/crds"  # in Cilium's sources
PATIENCE = float(os.environ.get("ISTHMUS_TEST_PATIENCE", "1"))
RUN = "/run/cilium"  # where the agent writes to besides what its flags say
FLAGS = {
    "agent-health-port": 9879, "bpf-root": "/sys/fs/bpf", "enable-bpf-clock-probe": False,
    "enable-endpoint-health-checking": False, "enable-envoy-config": False, "enable-health-checking": False,
    "enable-hubble": False, "enable-ipv4": True, "enable-ipv6": True, "enable-ipv4-masquerade": False,
    "enable-ipv6-masquerade": False, "enable-l7-proxy": False, "identity-allocation-mode": "crd", "ipam": "kubernetes",
    "kube-proxy-replacement": False, "procfs": "/proc", "routing-mode": "tunnel", "tunnel-protocol": "vxlan",
}
# The mounts of a node's agent: seen by nobody else; network namespaces that are made later appear in them. They are
# there as long as this runs, so that what an agent pins outlives it.
MOUNTS = """\
mount --make-rprivate /sys
while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf; done
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount --bind "$1" /run/cilium
mkdir -p /run/cilium/cgroupv2 && mount -t cgroup2 none /run/cilium/cgroupv2
echo mounted
exec sleep infinity
"""


def app_of(pod):
    return "web" if pod.backend else "client"


class Programs:
    """Cilium's programs, and the folder of its sources; skips the tests where they cannot be made."""

    def __init__(self, into):
        self.folder = into
        self.bin = os.path.join(into, "bin")
        os.makedirs(self.bin)
        for name in (CLANG, "iptables"):
            if not shutil.which(name):
                raise unittest.SkipTest(f"{name} is not installed")
        os.symlink(shutil.which(CLANG), os.path.join(self.bin, "clang"))
        self.agent = go_program.build(into, "cilium-agent", "cilium-agent", f"{MODULE}/daemon",
                                      ["-ldflags=-s -w"])
        module = go_program.sources("cilium-agent", MODULE)
        self.kinds = os.path.join(module, KINDS)
        self.library = os.path.join(into, "library")
        shutil.copytree(os.path.join(module, "bpf"), os.path.join(self.library, "bpf"))
        run(["chmod", "-R", "u+w,a+x", self.library])
        self.api_server = kube_apiserver.build(into)

    def environment(self):
        return dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}", HOME=self.folder)


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=120 * PATIENCE)  # a pod takes a compilation
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Cluster:
    """A cluster's API server with Cilium's kinds, its Node, and a namespace `shop`."""

    def __init__(self, programs, cluster):
        self.programs = programs
        self.cluster = cluster
        self.server = kube_apiserver.KubeApiServer(programs.api_server)
        self.listeners = []

    def start(self):
        self.server.start()
        for path in sorted(glob.glob(os.path.join(self.programs.kinds, "v2*", "*.yaml"))):
            with open(path, encoding="utf-8") as file:
                self.server.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", file.read(),
                                    "application/yaml")
        self.create("/api/v1/namespaces", "v1", "Namespace", "shop")
        for node in self.cluster.nodes:
            subnets = list(self.cluster.pod_subnets(node))
            self.create("/api/v1/nodes", "v1", "Node", node.name,
                        spec={"podCIDR": subnets[0], "podCIDRs": subnets})
            self.server.request("PATCH", f"/api/v1/nodes/{node.name}/status", {"status": {"addresses": [
                {"type": "InternalIP", "address": address}
                for address in (self.cluster.node_ipv4(node), self.cluster.node_ipv6(node))]}},
                                "application/merge-patch+json")
            # Without it, an agent takes any address of the node's that is free, one of the plan's pods among them.
            own = (self.cluster.node_pod_gateway(node), subnets[1].replace("/64", "1"))
            self.create("/apis/cilium.io/v2/ciliumnodes", "cilium.io/v2", "CiliumNode", node.name, spec={
                "addresses": [{"type": "CiliumInternalIP", "ip": address} for address in own],
                "ipam": {"podCIDRs": subnets}})

    def create(self, path, version, kind, name, labels=None, annotations=None, **parts):
        return self.server.request("POST", path, {"apiVersion": version, "kind": kind, "metadata": {
            "name": name, "labels": labels or {}, "annotations": annotations or {}}, **parts})

    def make_pod(self, pod, node):
        """A Pod's object, and those of its addresses."""
        made = self.create("/api/v1/namespaces/shop/pods", "v1", "Pod", pod.name, {"app": app_of(pod)}, spec={
            "nodeName": node, "serviceAccountName": "default", "containers": [{"name": "main", "image": "none"}]})
        self.server.request("PATCH", f"/api/v1/namespaces/shop/pods/{pod.name}/status", {"status": {
            "phase": "Running", "hostIP": self.cluster.node_ipv4(self.cluster.node(node)), "podIP": pod.ipv4,
            "podIPs": [{"ip": pod.ipv4}, {"ip": pod.ipv6}]}}, "application/merge-patch+json")
        return made

    def make_identity(self, app):
        """The CiliumIdentity of an app's pods with the plan's number: agents take the one that has the labels."""
        labels = {"app": app, "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": "shop",
                  "io.cilium.k8s.policy.cluster": self.cluster.name, "io.cilium.k8s.policy.serviceaccount": "default",
                  "io.kubernetes.pod.namespace": "shop"}
        self.create("/apis/cilium.io/v2/ciliumidentities", "cilium.io/v2", "CiliumIdentity",
                    str(self.cluster.identity(app)), labels, **{
                        "security-labels": {f"k8s:{key}": value for key, value in labels.items()}})

    def policy(self, name, spec):
        """Puts a CiliumNetworkPolicy; without a spec, removes it."""
        folder = "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies"
        if spec is None:
            self.server.request("DELETE", f"{folder}/{name}")
        else:
            self.create(folder, "cilium.io/v2", "CiliumNetworkPolicy", name, spec=spec)

    def kubeconfig(self, netns, folder):
        """A kubeconfig for processes in that network namespace."""
        listener = api_extensions.Proxy(api_extensions.listen_in(netns, "127.0.0.1", 6443))
        listener.target = self.server.proxy.target
        self.listeners.append(listener)
        with open(self.server.kubeconfig, encoding="utf-8") as file:
            config = json.load(file)
        config["clusters"][0]["cluster"].update(
            {"server": "https://127.0.0.1:6443", "certificate-authority": os.path.join(self.server.folder, "ca.crt")})
        config["users"][0]["user"]["tokenFile"] = os.path.join(self.server.folder, "token")
        path = os.path.join(folder, "kubeconfig")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        return path

    def close(self):
        for listener in self.listeners:
            listener.close()
        self.server.close()


class Agent:
    """cilium-agent on a node; close() removes what it has written."""

    def __init__(self, programs, cluster, node, netns, folder, flags=None):
        self.programs = programs
        self.cluster = cluster
        self.node = node
        self.netns = netns
        self.name = f"{cluster.cluster.name}-{node.name}"
        self.folder = os.path.join(folder, f"agent-{self.name}")
        self.run_folder = os.path.join(self.folder, "run")
        os.makedirs(self.run_folder)
        self.socket = os.path.join(self.run_folder, "cilium.sock")
        self.log = os.path.join(folder, "log", f"cilium-agent-{self.name}.log")
        self.kubeconfig = cluster.kubeconfig(netns, self.folder)
        self.flags = {**FLAGS, "k8s-kubeconfig-path": self.kubeconfig, "lib-dir": programs.library,
                      "state-dir": RUN, "socket-path": f"{RUN}/cilium.sock", "cgroup-root": f"{RUN}/cgroupv2",
                      "cluster-name": cluster.cluster.name, "cluster-id": cluster.cluster.id, **(flags or {})}
        self.daemon = None
        self.made_run = not os.path.isdir(RUN)
        os.makedirs(RUN, exist_ok=True)
        self.mounts = netns.start("mounts", ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", MOUNTS, "sh",
                                             self.run_folder], os.path.join(folder, "log", f"mounts-{self.name}.log"))
        wait_until(lambda: "mounted" in self.mounts.log_tail(), what="the agent's file systems are mounted")

    def start(self, wait=True):
        words = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
                 for name, value in self.flags.items()]
        self.daemon = self.netns.start(
            "cilium-agent", ["nsenter", f"--mount=/proc/{self.mounts.pid}/ns/mnt", self.programs.agent, *words],
            self.log, env=dict(self.programs.environment(), K8S_NODE_NAME=self.node.name))
        if wait:
            self.wait_ready()

    def tell(self, method, path, body=None):
        """The answer of the agent's API."""
        connection = Unix(self.socket)
        try:
            connection.request(method, f"/v1{path}", None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise CommandError(f"cilium-agent: {method} {path}: {answer.status} {text}\n{self.daemon.log_tail(20)}")
        return json.loads(text) if text else None

    def ask(self, path):
        """The same, or None if there is none."""
        try:
            return self.tell("GET", path)
        except (OSError, CommandError):
            return None

    def wait_ready(self, timeout=120):
        def ready():
            if not self.daemon.alive:
                raise CommandError(f"cilium-agent exited with {self.daemon.popen.returncode}:\n"
                                   f"{self.daemon.log_tail()}")
            health = self.ask("/healthz")
            return health is not None and health["cilium"]["state"] == "Ok"
        try:
            wait_until(ready, timeout, 0.2, what="cilium-agent is ready")
        except TimeoutError as error:
            raise CommandError(f"{error}\n{self.ask('/healthz')}\n{self.daemon.log_tail(30)}") from error

    def add_pod(self, pod, netns):
        """Connects a pod of the plan, whose network namespace is empty, as Cilium's CNI plugin does."""
        made = self.cluster.make_pod(pod, self.node.name)
        node = self.tell("GET", "/config")["status"]
        for address in (pod.ipv4, pod.ipv6):
            self.tell("POST", f"/ipam/{address}?owner=shop/{pod.name}&pool=default")
        outside = f"lxc-{pod.name}"
        run(["ip", "link", "add", outside, "netns", self.netns.name, "mtu", str(node["deviceMTU"]), "type", "veth",
             "peer", "name", "eth0", "netns", netns.name, "mtu", str(node["deviceMTU"])])
        self.netns.ip(f"link set {outside} up")
        hosts = [node["addressing"][family]["ip"] for family in ("ipv4", "ipv6")]
        netns.ip("link set eth0 up", f"addr add {pod.ipv4}/32 dev eth0", f"addr add {pod.ipv6}/128 dev eth0 nodad",
                 *[f"route add {host} dev eth0" for host in hosts],
                 *[f"route add {prefix} via {host} mtu {node['routeMTU']}"
                   for prefix, host in zip(("default", "::/0"), hosts)])
        ours, theirs = (json.loads(where.run(["ip", "-j", "link", "show", device]).stdout)[0]
                        for where, device in ((self.netns, outside), (netns, "eth0")))
        self.tell("PUT", "/endpoint/cilium-local:0", {
            "container-id": made["metadata"]["uid"].replace("-", ""), "container-interface-name": "eth0",
            "container-netns-path": netns.path, "k8s-namespace": "shop", "k8s-pod-name": pod.name,
            "k8s-uid": made["metadata"]["uid"], "addressing": {"ipv4": pod.ipv4, "ipv6": pod.ipv6},
            "interface-name": outside, "interface-index": ours["ifindex"], "host-mac": ours["address"],
            "mac": theirs["address"], "state": "waiting-for-identity", "sync-build-endpoint": True,
            "properties": {}, "datapath-configuration": {}})

    def stop(self):
        """Ends it with SIGTERM; returns its exit status."""
        self.daemon.stop(timeout=30)
        return self.daemon.popen.returncode

    def ready_pods(self):
        """Names of its pods whose programs are in place."""
        return [entry["status"]["external-identifiers"]["pod-name"] for entry in self.ask("/endpoint") or []
                if entry["status"]["state"] == "ready" and "pod-name" in entry["status"]["external-identifiers"]]

    def log_text(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def complaints(self):
        """What it has logged of severity error or worse."""
        return [line for line in self.log_text().splitlines()
                if any(word in line for word in ("level=error", "level=fatal", "panic"))]

    def close(self):
        if self.daemon is not None:
            self.stop()
        self.mounts.kill()
        if self.made_run:
            os.rmdir(RUN)
