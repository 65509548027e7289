"""Two pods of two clusters in network namespaces, a node each, and what carries packets between the nodes.

    client pod == node of cluster one == node of cluster two == server pod        (veth pairs)

The client, and what gateway one does in user space, has one core, the server and gateway two the other. What the kernel
does at a veth's receiving end is done on the core that sends.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from harness.build import ROOT, HarnessError

sys.path.insert(0, os.path.join(ROOT, "test", "support"))

from fleet import plan  # noqa: E402  (needs the path above)
from fleet.gateway import GatewayProcess  # noqa: E402
from fleet.hub import Hub  # noqa: E402
from fleet.netns import NODE_SYSCTLS, POD_SYSCTLS, Namespace  # noqa: E402
from fleet.shell import CommandError, run, wait_until  # noqa: E402

MTU, JUMBO_MTU = 1500, 9000
TUNNEL = 50  # bytes that VXLAN takes of the underlay's MTU
TUNNEL_PORT = 8472
CONNECTIONS = 3  # of a client
TURN_TIMEOUT = 60.0
REAL_TIME = ("chrt", "--rr", "1")  # pods and gateways go before other work on the machine
UNDERLAY = ("192.0.2.11", "192.0.2.12")


def _cluster(name, number, host, pod):
    gateway = plan.Gateway(f"{name}-1", name, "node", f"192.0.2.{host}", f"10.{number}.255.1", f"fd00:{number}::ff:1")
    return plan.Cluster(name, number, "192.0.2", 8080, nodes=(plan.Node("node", 1, host, pods=(pod,)),),
                        gateways=(gateway,))


CLUSTERS = (_cluster("one", 1, 11, "client"), _cluster("two", 2, 12, "web-0"))
CLIENT, SERVER = (cluster.pods()[0] for cluster in CLUSTERS)


def cores():
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def offloads(netns, device, on):
    """Of what a device sends; GRO of a veth is off unless somebody turns it on."""
    if not on:
        netns.run(["ethtool", "-K", device, "tso", "off", "gso", "off", "tx", "off", "gro", "off"])


class Stand:
    """What is between the pods; `measure` asks the client for a turn. close() removes everything."""

    def __init__(self, name, program, number, mtu=MTU, pod_mtu=None, pod_offloads=True):
        self.name = name
        self.program = program
        self.prefix = f"isp-{os.getpid()}-{number}-"
        self.mtu = mtu
        self.pod_mtu = pod_mtu or mtu - TUNNEL
        self.pod_offloads = pod_offloads
        self.stack = contextlib.ExitStack()
        self.client = None

    def open(self):
        """Raises HarnessError or CommandError; close() is needed all the same."""
        self.folder = tempfile.mkdtemp(prefix="isthmus-pods-", dir="/run" if os.path.isdir("/run") else None)
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.pods = [self._namespace(name, POD_SYSCTLS) for name in ("client", "server")]
        self.connect()
        near, far = cores()
        server = self._start(self.pods[1], "server", ["--core", str(far), "serve"])
        wait_until(lambda: "ready" in server.log_tail(), what="the pod serves")
        self.carry()
        with open(os.path.join(self.folder, "client.log"), "w", encoding="utf-8") as log:
            self.client = subprocess.Popen(
                self.pods[0].enter(self._command("--core", str(near), "ask", SERVER.ipv4)), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True)
        self.stack.callback(self._end_client)
        self.settle()

    def close(self):
        self.stack.close()

    # Of the kinds of stands.

    def connect(self):
        """Makes nodes and links."""
        self.nodes = []
        for index, pod in enumerate((CLIENT, SERVER)):
            node = self._namespace(f"node{index}", NODE_SYSCTLS)
            self.nodes.append(node)
            self._pair(node, "pod", self.pods[index], "eth0", self.mtu, self.pod_offloads)
            gateway = f"10.{index + 1}.1.1"
            node.ip(f"addr add {gateway}/32 dev pod", f"route add {pod.ipv4}/32 dev pod")
            self.pods[index].ip(f"addr add {pod.ipv4}/32 dev eth0",
                                f"route add default via {gateway} dev eth0 onlink mtu {self.pod_mtu}")
        self._pair(self.nodes[0], "eth0", self.nodes[1], "eth0", self.mtu, True)
        for node, address in zip(self.nodes, UNDERLAY):
            node.ip(f"addr add {address}/24 dev eth0")

    def carry(self):
        """Starts what carries packets between the nodes."""

    def settle(self):
        """After it, packets go the way that is measured."""
        for turn in ("udp 100", "tcp 100", "stream 0.1"):
            self.ask(turn)

    def counts(self):
        """Of packets, by who forwarded them; compared before and after a turn."""

    def check(self, before, after):
        """Raises HarnessError if the packets of a turn went another way."""

    # A turn.

    def measure(self, turn):
        before = self.counts()
        answer = self.ask(turn)
        self.check(before, self.counts())
        return answer

    def ask(self, turn):
        self.client.stdin.write(turn + "\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        if not line:
            with open(os.path.join(self.folder, "client.log"), encoding="utf-8") as log:
                raise HarnessError(f"{self.name}: {turn}: {log.read().strip()}")
        return json.loads(line)

    # For the kinds of stands.

    def _namespace(self, name, sysctls):
        netns = Namespace(self.prefix + name, sysctls)
        self.stack.callback(netns.remove)
        return netns

    @staticmethod
    def _pair(left, left_device, right, right_device, mtu, with_offloads):
        run(["ip", "link", "add", left_device, "mtu", str(mtu), "netns", left.name, "type", "veth", "peer", "name",
             right_device, "mtu", str(mtu), "netns", right.name])
        for netns, device in ((left, left_device), (right, right_device)):
            offloads(netns, device, with_offloads)
            netns.ip(f"link set {device} up")

    def _command(self, *arguments):
        return [*REAL_TIME, self.program, *arguments]

    def _start(self, netns, name, arguments):
        daemon = netns.start(name, self._command(*arguments), os.path.join(self.folder, f"{name}.log"))
        self.stack.callback(daemon.stop)
        return daemon

    def _end_client(self):
        self.client.stdin.close()
        try:
            self.client.wait(5)
        except subprocess.TimeoutExpired:
            self.client.kill()
            self.client.wait()
        self.client.stdout.close()


class Direct(Stand):
    """One veth pair from pod to pod, without nodes."""

    def connect(self):
        self._pair(self.pods[0], "eth0", self.pods[1], "eth0", self.mtu, self.pod_offloads)
        for netns, pod in zip(self.pods, (CLIENT, SERVER)):
            netns.ip(f"addr add {pod.ipv4}/8 dev eth0")


class Kernel(Stand):
    """VXLAN devices and routes. `wire`: "on", packets cross the underlay as long as a sender makes them, checksums
    left out; "link", they are cut before the underlay and put together behind it; "off", neither there nor at pods."""

    def __init__(self, *arguments, wire="on", **options):
        super().__init__(*arguments, pod_offloads=wire != "off", **options)
        self.wire = wire

    def carry(self):
        for index, node in enumerate(self.nodes):
            other = 1 - index
            node.ip(f"link add vx mtu {self.mtu - TUNNEL} type vxlan id 2 local {UNDERLAY[index]} "
                    f"remote {UNDERLAY[other]} dstport {TUNNEL_PORT} dev eth0 noudpcsum",
                    f"addr add 10.255.0.{index + 1}/24 dev vx", "link set vx up",
                    f"route add 10.{other + 1}.0.0/16 via 10.255.0.{other + 1}")
            if self.wire == "link":
                node.run(["ethtool", "-K", "eth0", "tso", "off", "gso", "off", "tx", "off", "gro", "on"])
            elif self.wire == "off":
                for device in ("eth0", "vx"):
                    offloads(node, device, False)


class Gateways(Stand):
    """`isthmus run` at each node. `down`: whether it hands settled flows down to XDP."""

    def __init__(self, *arguments, isthmus, down, local_mtu=None, idle="sleep", **options):
        super().__init__(*arguments, pod_mtu=local_mtu, **options)
        self.isthmus = isthmus
        self.down = down
        self.settings = {"kernel_forwarding": "auto" if down else "off", "idle": idle}
        if local_mtu:
            self.settings["local_mtu"] = local_mtu
        self.gateways = []

    def carry(self):
        plan.CLUSTERS = CLUSTERS
        hub = Hub(self.folder)
        hub.write_fleet()
        for node, cluster, core in zip(self.nodes, CLUSTERS, cores()):
            # Else the other end discards what is redirected to this one until a gateway is there, too.
            node.run(["ethtool", "-K", "eth0", "gro", "on"])
            gateway = GatewayProcess(cluster.gateways[0], node, self.isthmus, self.folder, hub,
                                     {**self.settings, "cores": [core]})
            self.gateways.append(gateway)
            gateway.start(wait=False)
            self.stack.callback(gateway.stop)
        for gateway in self.gateways:
            gateway.wait_ready()
            run(["chrt", "--all-tasks", "--rr", "--pid", "1", str(gateway.daemon.pid)])
        names = {gateway.name for gateway in self.gateways}
        wait_until(lambda: all(names - {gateway.name} <= gateway.live_peers() for gateway in self.gateways),
                   what="the gateways reach each other")

    def settle(self):
        super().settle()
        if not self.down:
            return

        def all_down():
            super(Gateways, self).settle()
            return all(gateway.status()["handed_down"]["now"] >= CONNECTIONS for gateway in self.gateways)
        wait_until(all_down, what=f"{self.name}: connections are handed down")

    def counts(self):
        """[(packets forwarded by XDP, by the engine)] of the gateways."""
        found = []
        for gateway in self.gateways:
            devices = gateway.status()["devices"]
            found.append((sum(device["forwarded_in_kernel"]["packets"] for device in devices),
                          sum(device["rx_packets"] for device in devices)))
        return found

    def check(self, before, after):
        for gateway, then, now in zip(self.gateways, before, after):
            in_kernel, up = now[0] - then[0], now[1] - then[1]
            share = in_kernel / max(1, in_kernel + up)
            if (share < 0.99) if self.down else (in_kernel != 0):
                raise HarnessError(f"{self.name}: {gateway.name} forwarded {in_kernel} packets in the kernel and {up} "
                                   "in user space")
