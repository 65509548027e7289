"""Services whose backends are on a Cilium node that does DSR by Geneve (geneve_node.py), with `services.dsr: geneve`.

Clients of north reach a backend of south through north's gateway, which tells the node in Cilium's option what they
have asked. Over IPv4 the node answers them past the gateway; over IPv6 in the gateway's tunnel, as where that is the
clients' tunnel end.
"""

import os
import sys
import unittest

from fleet_case import LOAD, FleetCase, addresses, plan, pod, url, wait_until
from fleet.hub import cluster_manifest, profile_manifest
from fleet.load import PORT, LoadClient, LoadServer
from fleet.traffic import curl
from dsr_test import ASK_UDP
from kernel_peer import SOUTH

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICE, BACK = "node0", "back0"
NORTH, CLIENT = plan.cluster("north"), pod("north-client")
BACKEND = next(each for each in SOUTH.pods() if each.backend)


class DirectReturn(FleetCase):
    settings = {"services": "{dsr: geneve}"}

    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(setattr, plan, "encapsulation", plan.encapsulation)
        plan.encapsulation = "geneve"
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        cls.add_node()
        hub = cls.fleet.hub
        hub.write("fleet/south.yaml", [cluster_manifest(SOUTH).replace("spec:", "spec:\n  encapsulation: geneve")])
        hub.write("fleet/direct.yaml", [profile_manifest([SOUTH, NORTH]).replace("name: fleet", "name: direct")])
        hub.write_pods(SOUTH)
        cls.vips = cls.fleet.allocate("shop/far", "north")
        ports = (("http", "TCP", 80, SOUTH.http_port), ("echo", "UDP", 7, 7000), ("load", "TCP", PORT, PORT))
        hub.write_service(NORTH, "far", [], ports=ports)
        hub.write_service(SOUTH, "far", [BACKEND], ports=ports)
        cls.gateway = cls.fleet.gateways[NORTH.gateways[0].name]
        cls.fleet.wait_backends("shop/far", addresses([BACKEND]), gateways=[cls.gateway])
        cls.client = cls.fleet.pod("north", "client")
        wait_until(lambda: all(curl(cls.client, url(vip, 80), timeout=2)[0] == 0 for vip in cls.vips),
                   what="the VIP answers in both families")

    @classmethod
    def add_node(cls):
        """South's node, its backend's server, and the way of answers past north's gateway."""
        topology = cls.fleet.topology
        topology.add_cluster(SOUTH)
        netns, own = cls.fleet.node("south", "node1"), SOUTH.node_ipv4(SOUTH.node("node1"))
        cls.node = netns.start("geneve-node", [sys.executable, f"{HERE}/geneve_node.py", DEVICE, BACK, own,
                                               NORTH.gateways[0].underlay, str(BACKEND.identity)],
                               f"{cls.fleet.folder}/log/geneve-node.log")
        cls.fleet.daemons.append(cls.node)
        wait_until(lambda: "ready" in cls.node.log_tail(), what="the node is ready")
        netns.ip(f"link set {DEVICE} mtu 1438 up", f"link set {BACK} up",
                 *[f"route add {prefix} dev {DEVICE}" for prefix in NORTH.pod_cidrs],
                 f"rule add iif {BACK} lookup 200", f"route add default via {SOUTH.site_ipv4}.1 table 200")
        topology.namespaces["router"].ip(f"route add {CLIENT.ipv4} via {NORTH.node_ipv4(NORTH.node('node1'))}")
        cls.fleet._serve(cls.fleet.pod("south", BACKEND.name),  # pylint: disable=protected-access
                         BACKEND.full_name, SOUTH.http_port)

    def came(self, kind):
        """The lines of the node about packets of that kind: number of options, service, port, source, VNI."""
        lines = [line.split() for line in self.node.log_tail(1 << 22).splitlines()]
        return [tuple(words[2:]) for words in lines if words[:2] == ["came", kind]]

    def answers(self, vip):
        """Packets of answers that the gateway has seen, of all connections of the client with that VIP and port 80."""
        rows = self.gateway.query("connections", "--address", vip)["connections"]
        rows = [row for row in rows if row["frontend_port"] == 80]
        self.assertGreater(len(rows), 0)
        return sum(row["reply_packets"] for row in rows)

    def test_tcp_is_answered_by_the_vip_and_the_backend_sees_the_client(self):
        for vip, address in zip(self.vips, (CLIENT.ipv4, CLIENT.ipv6)):
            before = len(self.came("syn"))
            status, body = curl(self.client, url(vip, 80))
            self.assertEqual((status, body.split()), (0, [BACKEND.full_name, address]))
            self.assertEqual(self.came("syn")[before:], [("1", vip, "80", address, str(CLIENT.identity))])
        self.assertEqual({words[0] for words in self.came("tcp")}, {"0"}, "no option behind the SYN")
        self.assertEqual(self.answers(self.vips[0]), 0, "they pass by the gateway")
        self.assertGreater(self.answers(self.vips[1]), 0, "they come in its tunnel")
        self.assertEqual(self.checksum_errors(), {})

    def test_udp_has_the_option_in_every_datagram(self):
        for vip, address in zip(self.vips, (CLIENT.ipv4, CLIENT.ipv6)):
            before = len(self.came("udp"))
            lines = self.client.run([sys.executable, "-c", ASK_UDP, vip]).stdout.splitlines()
            self.assertEqual([line[:12] for line in lines],
                             [f"{BACKEND.full_name} {number}"[:12] for number in range(5)])
            self.assertEqual(self.came("udp")[before:], [("1", vip, "7", address, str(CLIENT.identity))] * 5)
        self.assertEqual(self.checksum_errors(), {})

    def test_connections_go_on_when_the_gateway_is_killed_and_starts_again(self):
        server = LoadServer(self.fleet, BACKEND, LOAD)
        self.addCleanup(server.stop)
        client = LoadClient(self.fleet, CLIENT, LOAD, "direct", [(vip, PORT) for vip in self.vips], "--connections", 8,
                            "--interval-ms", 20, "--bytes", 100000)
        self.addCleanup(client.stop)
        client.wait_open(8)
        client.wait_rounds(2)
        self.gateway.kill()
        self.gateway.start()
        report = client.wait_rounds(3)
        self.assertEqual(report["failures"], {})
        self.assertEqual(self.checksum_errors(), {})

    def test_a_node_that_the_hub_no_longer_has_takes_its_backends_along(self):
        hub, path = self.fleet.hub, "clusters/south/pods.yaml"
        with open(hub.locate(path), encoding="utf-8") as file:
            documents = file.read().split("---\n")
        self.addCleanup(hub.write, path, documents)
        hub.write(path, [document for document in documents if "kind: Node\n" not in document])
        self.fleet.wait_backends("shop/far", [], gateways=[self.gateway])
        self.assertIn("to which no tunnel leads", str(self.gateway.query("status")))
        before = len(self.came("syn"))
        self.assertNotEqual(curl(self.client, url(self.vips[0], 80), timeout=2)[0], 0)
        self.assertEqual(len(self.came("syn")), before)
        hub.write(path, documents)
        self.fleet.wait_backends("shop/far", addresses([BACKEND]), gateways=[self.gateway])
        for vip in self.vips:
            self.assertEqual(curl(self.client, url(vip, 80))[0], 0)


if __name__ == "__main__":
    unittest.main()
