"""ICMP errors and resets that senders receive (path MTU, no backend), and validation of tunnel packets."""

import unittest

from fleet_case import FleetCase, addresses, plan, pod, wait_until
from kernel_peer import DEVICE, SOUTH, KernelPeer
from fleet.traffic import ping

ASK = """
import errno, socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET,
                  socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM)
s.settimeout(3)
try:
    s.connect((address, port))
    s.send(b'x')
    s.recv(10)
    print('answered')
except TimeoutError:
    print('no answer')
except OSError as error:
    print(errno.errorcode[error.errno])
"""


class Errors(FleetCase):
    def client_without_route_mtu(self, name):
        """The pod sends up to 1500 bytes until it receives an ICMP error."""
        entry = pod(name)
        cluster = plan.cluster(entry.cluster)
        netns = self.fleet.pod(entry.cluster, entry.name)
        node = f"10.{cluster.id}.{cluster.node(entry.node).index}.1"

        def route(mtu):
            netns.ip(f"route replace default via {node} dev eth0 onlink {mtu}")
            netns.ip(f"route replace default via fe80::1 dev eth0 {mtu}", family=("-6",))
        route("")
        self.addCleanup(netns.ip, "route flush cache")
        self.addCleanup(route, "mtu 1450")
        return netns

    def too_large(self, netns, address):
        size = 1452 if ":" in address else 1472
        return netns.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", str(size), address],
                         check=False).stdout

    def test_the_mtu_of_the_local_devices_route_is_reported_to_senders_of_too_large_packets(self):
        netns = self.client_without_route_mtu("east-client")
        target = pod("west-web-0")
        self.assertRegex(self.too_large(netns, target.ipv4), r"(?i)frag needed.*mtu = 1450")
        self.assertRegex(self.too_large(netns, target.ipv6), r"(?i)packet too big.*mtu=1450")

    def test_the_engine_reports_the_mtu_to_senders_of_too_large_packets(self):
        """North's gateway has one device for both sides, so the engine itself must send the ICMP error."""
        netns = self.client_without_route_mtu("north-client")
        gateway = self.fleet.gateways["north-1"]
        before = gateway.status()["packets"]["icmp_sent"]
        target = pod("west-web-0")
        self.assertRegex(self.too_large(netns, target.ipv4), r"(?i)frag needed.*mtu = 1450")
        self.assertRegex(self.too_large(netns, target.ipv6), r"(?i)packet too big.*mtu=1450")
        self.assertGreaterEqual(gateway.status()["packets"]["icmp_sent"] - before, 2)
        self.assertGreaterEqual(gateway.drops().get("oversize", 0), 2)
        # A packet of exactly the MTU passes.
        self.assertTrue(ping(netns, target.ipv4, size=1422, dont_fragment=True))

    def ask(self, client, kind, address, port):
        netns = self.fleet.pod(*client.split("-", 1))
        return netns.run(["/usr/bin/python3", "-c", ASK, kind, address, str(port)]).stdout.strip()

    def test_a_service_without_backends_answers_port_unreachable(self):
        vips = self.fleet.allocate("shop/empty")
        for cluster in plan.CLUSTERS:
            self.fleet.hub.write_service(cluster, "empty", backends=[])
        for gateway in self.fleet.live():
            wait_until(lambda gateway=gateway: gateway.query("services", "--service", "shop/empty")["frontends"],
                       what=f"{gateway.name} has shop/empty")
        for client, gateway in (("east-client", "east-1"), ("north-client", "north-1")):
            before = self.drops(gateway).get("no_live_backend", 0)
            for vip in vips:
                with self.subTest(client=client, vip=vip):
                    self.assertEqual(self.ask(client, "udp", vip, 7), "ECONNREFUSED")
                    self.assertEqual(self.ask(client, "tcp", vip, 80), "ECONNREFUSED")
            self.assertGreaterEqual(self.drops(gateway).get("no_live_backend", 0) - before, 4)

    def test_packets_to_an_unserved_port_of_a_vip_are_counted(self):
        vips = self.make_global()
        before = self.drops("west-1").get("no_frontend", 0)
        for vip in vips:
            self.assertNotEqual(self.ask("west-client", "udp", vip, 4711), "answered")
        self.assertGreaterEqual(self.drops("west-1").get("no_frontend", 0) - before, 2)

    def test_packets_with_another_clusters_source_address_are_dropped(self):
        netns = self.fleet.pod("west", "client")
        netns.ip("addr add 10.3.77.77/32 dev eth0")
        self.addCleanup(netns.ip, "addr del 10.3.77.77/32 dev eth0")
        west = self.fleet.node("west", "node1")
        sent = self.sent_by(west)
        done = netns.run(["ping", "-c", "5", "-i", "0.1", "-W", "1", "-I", "10.3.77.77", pod("east-web-0").ipv4],
                         check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertLess(self.sent_by(west) - sent, 50, "the packets loop between node and gateway")
        flows = self.fleet.gateways["west-1"].query("connections", "--address", "10.3.77.77")["connections"]
        self.assertEqual(flows, [], "a connection was created")

    @staticmethod
    def sent_by(node):
        """Packets that the node's kernel has sent to its gateway."""
        return int(node.run(["cat", "/proc/net/dev"]).stdout.split("isthmus0:")[1].split()[9])


class SourceValidation(FleetCase):
    """A peer's packets with a wrong VNI or source are dropped with the matching reason."""

    @classmethod
    def prepare(cls):
        cls.peer = KernelPeer(cls.fleet)
        for gateway in cls.fleet.live():
            gateway.wait_endpoints(addresses(SOUTH.pods()))

    def check_dropped(self, reason, vni, source=None):
        """Packets sent with this VNI (and inner source) are dropped by east-1 with `reason`."""
        node, client = self.peer.node, self.fleet.pod("south", "client")
        target = pod("east-web-0").ipv4
        route = f"{target}/32 table 102 encap ip id {vni} dst 198.51.100.11 ttl 64 dev {DEVICE}"
        node.ip(f"route add {route}")
        self.addCleanup(node.ip, f"route del {target}/32 table 102")
        flags = []
        if source:
            client.ip(f"addr add {source}/32 dev eth0")
            self.addCleanup(client.ip, f"addr del {source}/32 dev eth0")
            node.ip(f"rule add from {source} lookup 102")
            self.addCleanup(node.ip, f"rule del from {source} lookup 102")
            flags = ["-I", source]
        before = self.drops("east-1").get(reason, 0)
        done = client.run(["ping", "-c", "3", "-i", "0.1", "-W", "1", *flags, target], check=False)
        self.assertNotEqual(done.returncode, 0, "the packets were accepted")
        self.assertGreaterEqual(self.drops("east-1").get(reason, 0) - before, 3, self.drops("east-1"))

    def test_an_identity_of_another_cluster_is_dropped(self):
        self.check_dropped("vni_cluster", pod("north-client").identity)

    def test_the_identity_of_the_host_is_dropped(self):
        self.check_dropped("vni_host", 1)

    def test_the_identity_of_another_pod_is_dropped(self):
        self.check_dropped("identity_mismatch", SOUTH.identity("web"))

    def test_a_source_address_of_another_cluster_is_dropped(self):
        self.check_dropped("source_outside_cluster", SOUTH.identity("client"), source="10.3.1.99")

    def test_a_cluster_that_is_not_linked_is_unreachable(self):
        """South is linked with east and north only."""
        client = self.fleet.pod("west", "client")
        self.assertIsNone(ping(client, self.peer.pod("web-0").ipv4))
        target = self.peer.pod("web-0").ipv4
        found = self.fleet.gateways["west-1"].query("connections", "--address", target)["connections"]
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
