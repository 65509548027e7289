"""Two gateways, and ICMP errors that come back through the other one than what they are about.

Node3 of east has routes to both gateways. What its client sends goes through east-1; what its kernel reports of packets
to the client goes through east-2, which knows none of its connections. Nodes report by their addresses towards their
pods, which the hub lists: a gateway takes them for nodes' by nothing else.
"""

import os
import re
import unittest

import alias_gateways_test
from fleet_case import FleetCase, backends, plan, pod, url
from fleet.traffic import curl

LENGTH = 200_000  # of many packets of full size
NARROW = 1300     # what the link to the client carries
PORT = 8099       # of the server of large files
PYTHON = "/usr/bin/python3"

# A client that has sent nothing yet, by the fleet at least: prints what it is told of its datagrams.
LISTEN = """
import errno, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 5555))
s.connect((sys.argv[1], 7777))
s.settimeout(10)
print('listening', flush=True)
try:
    print(s.recv(10))
except OSError as error:
    print(errno.errorcode.get(error.errno, error), flush=True)
"""

# A node that says of a datagram from the one to the other that nobody listens.
REPORT = """
import socket, struct, sys
client, server = (socket.inet_aton(address) for address in sys.argv[1:3])
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff
def header(checksum_):
    return struct.pack('!BBHHHBBH4s4s', 0x45, 0, 36, 1, 0x4000, 63, 17, checksum_, client, server)
quoted = header(checksum(header(0))) + struct.pack('!HHHH', 5555, 7777, 16, 0)
def message(checksum_):
    return struct.pack('!BBHI', 3, 3, checksum_, 0) + quoted
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
    raw.bind((sys.argv[3], 0))
    raw.sendto(message(checksum(message(0))), (sys.argv[1], 0))
"""


def inner_addresses(net, node):
    """Of a node, among those of its pods, whose addresses have that number."""
    return f"10.{net}.{node.index}.1", f"fd00:{net}:0:{node.index}::1"


def cilium_node_manifest(cluster, node):
    listed = "".join(f'  - {{type: CiliumInternalIP, ip: "{address}"}}\n'
                     for address in inner_addresses(cluster.pod_net, node))
    return f"""\
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {{name: {cluster.name}-{node.name}}}
spec:
  addresses:
{listed}"""


class StrayErrors:
    """For a fleet whose east has two gateways. `server`: the name of a cluster with one gateway."""

    server = "west"

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global((plan.cluster(cls.server),))
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write(f"clusters/{cluster.name}/cilium-nodes.yaml",
                                [cilium_node_manifest(cluster, node) for node in cluster.nodes])
        published = {address for cluster in plan.CLUSTERS for node in cluster.nodes
                     for address in inner_addresses(cluster.alias or cluster.pod_net, node)}
        for gateway in cls.fleet.live():
            cls.wait(lambda at=gateway: published <= {row["address"] for row in at.query("endpoints")["endpoints"]},
                     f"{gateway.name} lists the nodes' addresses")

    def stray(self, *gateways):
        return sum(self.fleet.gateways[name].status()["packets"]["icmp_stray"] for name in gateways)

    def split_ways(self, address):
        """What goes to the address leaves node3 for east-1, what its kernel reports to it for east-2."""
        east = plan.cluster("east")
        node = self.fleet.node("east", "node3")
        v6 = ":" in address
        family, length = ("-6",) if v6 else (), 128 if v6 else 32
        via = [(east.node_ipv6 if v6 else east.node_ipv4)(east.node(name)) for name in ("node1", "node2")]
        source = inner_addresses(east.pod_net, east.node("node3"))[1 if v6 else 0]
        both = [f"route {{}} {address}/{length} via {via[0]}",
                f"route {{}} {address}/{length} via {via[1]} src {source} table 100",
                f"rule {{}} ipproto {'ipv6-icmp' if v6 else 'icmp'} lookup 100"]
        # An address that is still tentative is no source of a route.
        both = [f"addr {{}} {source}/128 dev lo nodad", *both] if v6 else both
        node.ip(*(each.format("add") for each in both), family=family)
        self.addCleanup(node.ip, *(each.format("del") for each in reversed(both)), family=family)

    def narrow(self):
        """The client's node cannot send it what the client believes to be possible."""
        entry = pod("east-client3")
        node, client = self.fleet.node("east", "node3"), self.fleet.pod("east", "client3")
        gateway = plan.cluster("east").node_pod_gateway(plan.cluster("east").node("node3"))

        def route(options):
            client.ip(f"route replace default via {gateway} dev eth0 onlink {options}")
            client.ip(f"route replace default via fe80::1 dev eth0 {options}", family=("-6",))
        node.ip(f"link set pod-{entry.name} mtu {NARROW}")
        self.addCleanup(node.ip, f"link set pod-{entry.name} mtu 1500")
        route("mtu 1280 advmss 1380")
        self.addCleanup(route, "mtu 1450")
        self.forget_path_mtu()
        return client

    def forget_path_mtu(self):
        """What the servers have learned from another test."""
        for server in backends(self.server):
            netns = self.fleet.pod(self.server, server.name)
            netns.ip("route flush cache")
            netns.ip("route flush cache", family=("-6",))

    def test_a_connection_learns_of_a_smaller_mtu(self):
        client = self.narrow()
        server = pod(f"{self.server}-web-0")
        folder = os.path.join(self.fleet.folder, "files")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "large"), "wb") as file:
            file.write(b"x" * LENGTH)
        daemon = self.fleet.pod(self.server, "web-0").start(
            "files", [PYTHON, "-m", "http.server", str(PORT), "--bind", "::", "--directory", folder],
            os.path.join(self.fleet.folder, "log", "files.log"))
        self.addCleanup(daemon.stop)
        self.assertEqual(curl(client, url(server.fleet_addresses[0], PORT), "--retry", "20", "--retry-connrefused",
                              "--retry-delay", "1", "-o", "/dev/null")[0], 0)
        for address in server.fleet_addresses:
            with self.subTest(address=address):
                self.split_ways(address)
                before, known = self.stray("east-2"), self.stray(f"{self.server}-1")
                status, body = curl(client, url(address, PORT) + "large", timeout=20)
                self.assertEqual((status, len(body)), (0, LENGTH), (body[:200], self.drops()))
                self.assertGreater(self.stray("east-2"), before, "the error came by east-1")
                self.assertEqual(self.stray(f"{self.server}-1"), known, "the other cluster has but one gateway")
        self.assertEqual(self.checksum_errors(), {})

    def test_a_service_learns_of_a_smaller_mtu(self):
        client = self.narrow()
        body = os.path.join(self.fleet.folder, "body")
        with open(body, "wb") as file:
            file.write(b"y" * LENGTH)
        for vip in self.vips:
            with self.subTest(vip=vip):
                self.split_ways(vip)
                before = self.stray("east-2")
                status, said = curl(client, url(vip, 80), "--data-binary", f"@{body}", timeout=20)
                self.assertEqual((status, len(said)), (0, LENGTH), (said[:200], self.drops()))
                self.assertGreater(self.stray("east-2"), before, "the error came by east-1")

    def test_an_error_that_no_gateway_knows_the_connection_of_reaches_whom_it_is_for(self):
        """Through the reporter's gateway and one of the client's; by no other cluster, and not where policy forbids."""
        target, client = pod(f"{self.server}-web-0"), pod("east-client3")
        log = os.path.join(self.fleet.folder, "log", "listen.log")
        daemon = self.fleet.pod("east", "client3").start(
            "listen", [PYTHON, "-c", LISTEN, target.fleet_addresses[0]], log)
        self.addCleanup(daemon.stop)
        self.wait_for(daemon, "listening")
        names = ("east-1", "east-2")
        there, here = self.stray(f"{self.server}-1"), self.stray(*names)
        cluster = plan.cluster(self.server)
        node = cluster.node_pod_gateway(cluster.node("node1"))
        # At the reporter's node the client is known by its fleet address, the server by its own.
        self.fleet.node(self.server, "node1").run(
            [PYTHON, "-c", REPORT, client.fleet_addresses[0], target.ipv4, node])
        self.wait_for(daemon, "ECONNREFUSED")
        self.assertEqual((self.stray(f"{self.server}-1"), self.stray(*names)), (there + 1, here + 1), self.drops())
        self.expect_reporter_refused(client, target)
        before = self.drops("north-1").get("foreign_source", 0)
        north = plan.cluster("north")
        self.fleet.node("north", "node1").run(
            [PYTHON, "-c", REPORT, client.fleet_addresses[0], target.fleet_addresses[0],
             north.node_pod_gateway(north.node("node1"))])
        self.wait(lambda: self.drops("north-1").get("foreign_source", 0) == before + 1, "north's error is refused")
        self.assertEqual(self.stray(*names), here + 1)

    def test_a_trace_through_the_other_gateway_shows_the_node_and_ends_at_the_pod(self):
        """Its packets come through either gateway, by their ports; node3 and its pod report of all through east-2."""
        east, target = plan.cluster("east"), pod("east-client3")
        hops = inner_addresses(east.alias or east.pod_net, east.node("node3"))
        client = pod(f"{self.server}-client")
        for netns in (self.fleet.node("east", "node3"), self.fleet.pod("east", "client3")):
            for name in ("net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"):  # a kernel's own, of six at once
                netns.run(["sysctl", "-q", "-w", f"{name}=0"])
                self.addCleanup(netns.run, ["sysctl", "-q", "-w", f"{name}=1000"])
        for own, address, hop in zip(client.fleet_addresses, target.fleet_addresses, hops):
            self.split_ways(own)
            for options in ((), ("-T", "-p", "9")):
                with self.subTest(address=address, options=options):
                    before, first = self.stray("east-2"), self.stray("east-1")
                    for _ in range(12):  # until one has come through east-1
                        shown = self.trace(address, *options)
                        self.assertEqual([set(line) for line in shown[-2:]], [{hop}, {address}], (shown, self.drops()))
                        if self.stray("east-2") != before:
                            break
                    self.assertGreater(self.stray("east-2"), before, "no packet has come through east-1")
                    self.assertEqual(self.stray("east-1"), first, "an error came by east-1")

    def trace(self, address, *options):
        """Who answers at each hop, seen from the serving cluster's client."""
        done = self.fleet.pod(self.server, "client").run(
            ["traceroute", "-n", "-q", "2", "-w", "3", "-m", "8", *options, address])
        words = [line.split()[1:] for line in done.stdout.splitlines()[1:]]
        return [[word for word in line if re.fullmatch(r"[0-9a-f:]*:[0-9a-f:]+|\d+\.\d+\.\d+\.\d+", word)]
                for line in words]

    def expect_reporter_refused(self, client, target):
        """A pod cannot say anything by a packet to another one."""
        other = next(entry for entry in backends(self.server) if entry.name != target.name)
        name = f"{self.server}-1"
        before, passed = self.drops(name).get("icmp_reporter", 0), self.stray(name)
        self.fleet.pod(self.server, other.name).run(
            [PYTHON, "-c", REPORT, client.fleet_addresses[0], target.ipv4, other.ipv4])
        self.wait(lambda: self.drops(name).get("icmp_reporter", 0) == before + 1, "the pod's error is refused")
        self.assertEqual(self.stray(name), passed)

    def wait_for(self, daemon, word):
        self.wait(lambda: word in daemon.log_tail(), f"the client says {word}")

    @staticmethod
    def wait(condition, what):
        alias_gateways_test.wait_until(condition, 10, what=what)


class Plain(StrayErrors, FleetCase):
    pass


class Aliased(StrayErrors, alias_gateways_test.Overlapping):
    """East's pods have aliases, and so have those of the cluster that serves."""

    server = "south"

    @classmethod
    def make_fleet(cls):
        fleet = super().make_fleet()
        plan.CLUSTERS = alias_gateways_test.CLUSTERS
        return fleet


if __name__ == "__main__":
    unittest.main()
