"""DSR by Geneve with a Cilium node as load balancer (geneve_balancer.py).

Real clients outside every cluster reach a VIP of its. Backends behind a gateway of ours get their packets with the
clients' addresses, and answer them past the balancer.
"""

import os
import struct
import sys
import unittest

from fleet_case import LOAD, FleetCase, addresses, plan, pod, url, wait_until
from fleet import traffic
from fleet.hub import UDP_ECHO_PORT, cluster_manifest, gateway_manifest, profile_manifest, web_ports
from fleet.load import PORT, LoadClient, LoadServer
from fleet.netns import POD_SYSCTLS, Namespace, connect
from fleet.traffic import curl
from geneve_balancer import WORLD, checksum, dsr_option, geneve
from kernel_peer import SOUTH

HERE = os.path.dirname(os.path.abspath(__file__))
SENDER = os.path.join(os.path.dirname(traffic.__file__), "send_raw.py")
DEVICE = "lb0"
VIPS = ("203.0.114.80", "2001:db8:80::80")
OUTSIDE = plan.Cluster("outside", 5, "10.5.0", 0)  # no cluster but what is around: the underlay routes its addresses
CLIENT = plan.Pod("outside", "", "client", "10.5.0.9", "fd00:5::9", False, 0)
NORTH, BACKEND = plan.cluster("north"), pod("north-web-0")
NORTH_ADDRESS = NORTH.gateways[0].underlay
COPIES = 5

ASK_UDP = """
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(2)
sock.connect((sys.argv[1], 7))
for number in range(5):
    sock.send(b"%d" % number + b"x" * 900)
    print(sock.recv(2000)[:20].decode())
"""


def bracketed(address):
    return f"[{address}]" if ":" in address else address


class Balanced(FleetCase):
    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(setattr, plan, "encapsulation", plan.encapsulation)
        plan.encapsulation = "geneve"
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        cls.add_outside()
        cls.add_balancer()
        hub = cls.fleet.hub
        hub.write("fleet/south.yaml", [cluster_manifest(SOUTH).replace("spec:", "spec:\n  encapsulation: geneve"),
                                       gateway_manifest(SOUTH.gateways[0], [SOUTH.gateways[0].underlay])])
        hub.write("fleet/outside.yaml", [cluster_manifest(OUTSIDE).replace("spec:", "spec:\n  encapsulation: none")])
        hub.write("fleet/dsr.yaml", [profile_manifest([SOUTH, OUTSIDE, NORTH]).replace("name: fleet", "name: dsr")])
        hub.write_service(NORTH, "load", [BACKEND], ports=(*web_ports(NORTH), ("load", "TCP", PORT, PORT)))
        cls.fleet.allocate("shop/load", "north")  # else the gateway knows of no backends at those ports
        gateway = cls.fleet.gateways[NORTH.gateways[0].name]
        cls.fleet.wait_backends("shop/load", addresses([BACKEND]), gateways=[gateway])
        cls.client = cls.fleet.pod("outside", "client")
        wait_until(lambda: cls.answers(VIPS[0]) and cls.answers(VIPS[1]), what="the VIP answers in both families")

    @classmethod
    def add_outside(cls):
        """The client's network, and the routes to it of north's gateway, which is on the way of its nodes."""
        namespaces = cls.fleet.topology.namespaces
        router = namespaces["router"]
        namespaces["outside-client"] = netns = Namespace(f"{cls.fleet.topology.prefix}outside-client", POD_SYSCTLS)
        connect(router, "outside", netns, "eth0")
        router.ip("addr add 10.5.0.1/24 dev outside", "addr add fd00:5::1/64 dev outside nodad")
        netns.ip(f"addr add {CLIENT.ipv4}/24 dev eth0", f"addr add {CLIENT.ipv6}/64 dev eth0 nodad",
                 "route add default via 10.5.0.1", "route add ::/0 via fd00:5::1")
        gateway, node = NORTH.node("gw"), NORTH.node("node1")
        cls.fleet.node("north", "gw").ip(f"route add {OUTSIDE.pod_cidrs[0]} via {NORTH.site_ipv4}.1",
                                         f"route add {OUTSIDE.pod_cidrs[1]} via fd00:ee:{NORTH.id}::1")
        cls.fleet.node("north", node.name).ip(
            f"route add {OUTSIDE.pod_cidrs[0]} via {NORTH.node_ipv4(gateway)}",
            f"route add {OUTSIDE.pod_cidrs[1]} via {NORTH.node_ipv6(gateway)}")

    @classmethod
    def add_balancer(cls):
        cls.fleet.topology.add_cluster(SOUTH)
        netns, own = cls.fleet.node("south", "node1"), SOUTH.gateways[0].underlay
        services = [f"{bracketed(vip)}:{asked}={bracketed(address)}:{port}"
                    for vip, address in zip(VIPS, (BACKEND.ipv4, BACKEND.ipv6))
                    for asked, port in ((80, NORTH.http_port), (7, UDP_ECHO_PORT), (PORT, PORT))]
        cls.balancer = netns.start("balancer", [sys.executable, f"{HERE}/geneve_balancer.py", DEVICE, own,
                                                NORTH_ADDRESS, *services], f"{cls.fleet.folder}/log/balancer.log")
        cls.fleet.daemons.append(cls.balancer)
        wait_until(lambda: "ready" in cls.balancer.log_tail(), what="the balancer is ready")
        netns.ip(f"link set {DEVICE} mtu 1400 up", *[f"route add {vip} dev {DEVICE}" for vip in VIPS])
        cls.fleet.topology.namespaces["router"].ip(
            f"route add {VIPS[0]} via {own}", f"route add {VIPS[1]} via {SOUTH.node_ipv6(SOUTH.node('node1'))}")

    @classmethod
    def answers(cls, vip):
        return curl(cls.client, url(vip, 80), timeout=2)[0] == 0

    def returned(self):
        """What has come back to the balancer."""
        return [line for line in self.balancer.log_tail(1 << 20).splitlines() if line.startswith("returned")]

    def test_tcp_reaches_the_backend_with_the_clients_address_and_returns_past_the_balancer(self):
        for vip, address in zip(VIPS, (CLIENT.ipv4, CLIENT.ipv6)):
            status, body = curl(self.client, url(vip, 80))
            self.assertEqual((status, body.split()), (0, [BACKEND.full_name, address]))
        self.assertEqual(self.returned(), [])
        self.assertEqual(self.checksum_errors(), {})

    def test_udp_is_answered_by_the_vip(self):
        for vip in VIPS:
            lines = self.client.run([sys.executable, "-c", ASK_UDP, vip]).stdout.splitlines()
            self.assertEqual([line[:12] for line in lines],
                             [f"{BACKEND.full_name} {number}"[:12] for number in range(5)])
        self.assertEqual(self.returned(), [])
        self.assertEqual(self.checksum_errors(), {})

    def load(self, name, *options):
        server = LoadServer(self.fleet, BACKEND, LOAD)
        self.addCleanup(server.stop)
        client = LoadClient(self.fleet, CLIENT, LOAD, name, [(vip, PORT) for vip in VIPS], "--connections", 8,
                            "--interval-ms", 20, *options)
        self.addCleanup(client.stop)
        client.wait_open(8)
        return client

    def test_full_size_segments_arrive_intact(self):
        report = self.load("dsr-bytes", "--bytes", 100000).wait_rounds(3)
        self.assertEqual(report["failures"], {})
        self.assertEqual(self.returned(), [])
        self.assertEqual(self.checksum_errors(), {})

    def test_connections_keep_the_name_when_the_gateway_is_killed_and_starts_again(self):
        client = self.load("dsr-restart", "--bytes", 2000)
        client.wait_rounds(2)
        gateway = self.fleet.gateways[NORTH.gateways[0].name]
        gateway.kill()
        gateway.start()
        report = client.wait_rounds(3)
        self.assertEqual(report["failures"], {})
        self.assertEqual(self.returned(), [])

    def test_what_it_must_not_ask_for_is_dropped_by_name(self):
        gateway = self.fleet.gateways[NORTH.gateways[0].name]
        for case, reason, packet in self.refused():
            with self.subTest(case=case):
                before = gateway.drops()
                self.fleet.topology.namespaces["router"].run([sys.executable, SENDER, *[packet.hex()] * COPIES])
                wait_until(lambda: gateway.drops().get(reason, 0) >= before.get(reason, 0) + COPIES,
                           what=f"{case}: {COPIES} drops as {reason}")

    @staticmethod
    def refused():
        """Rows of description, drop reason, and packet."""
        option, critical = dsr_option(VIPS[0], 80), struct.pack("!HBB", 0x0102, 0x80, 0)
        west, own = pod("west-client").ipv4, pod("north-client").ipv4
        return (
            ("a client of a cluster that is not the balancer's", "source_outside_cluster", tunnelled(option, west)),
            ("a pod of the backend's own cluster", "source_outside_cluster", tunnelled(option, own)),
            ("a port that no service has", "dsr_option", tunnelled(option, port=UDP_ECHO_PORT + 1)),
            ("loopback as name", "dsr_option", tunnelled(dsr_option("127.0.0.1", 80))),
            ("the gateway's own address as name", "dsr_option", tunnelled(dsr_option(NORTH_ADDRESS, 80))),
            ("twice", "malformed", tunnelled(option + option)),
            ("no option", "source_outside_cluster", tunnelled(b"")),
            ("a name in west's prefixes", "dsr_option", tunnelled(dsr_option("10.2.0.1", 80))),
            ("no port", "dsr_option", tunnelled(dsr_option(VIPS[0], 0))),
            ("an identity beside it", "dsr_option", tunnelled(option, vni=SOUTH.identity("client"))),
            ("the other family's", "malformed", tunnelled(dsr_option(VIPS[1], 80))),
            ("cut", "malformed", tunnelled(option[:8])),
            ("another critical option", "tunnel_option", tunnelled(option + critical)),
        )


def tunnelled(option, source="10.5.0.77", vni=WORLD, port=UDP_ECHO_PORT):
    """A client's datagram to the backend, in Geneve from the balancer to north's gateway."""
    def ip(from_, to, payload):
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + 8 + len(payload), 0, 0, 64, 17, 0, packed(from_), packed(to))
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:]

    def udp(ports, payload):
        return struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    data = b"refused"
    inner = ip(source, BACKEND.ipv4, data) + udp((4711, port), data)
    frame = geneve(vni, option, inner)
    return ip(SOUTH.gateways[0].underlay, NORTH_ADDRESS, frame) + udp((50000, 6081), frame)


def packed(address):
    return bytes(map(int, address.split(".")))


if __name__ == "__main__":
    unittest.main()
