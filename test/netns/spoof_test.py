"""Spoofed packets of every kind, built with scapy and sent to a running gateway.

Each is dropped with its own reason in `isthmus drops`, or passed to the kernel by the steer program, while legitimate
traffic between the same clusters is not disturbed.
"""

import logging
import os
import subprocess
import unittest

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.all import IP, UDP, Ether, Raw  # noqa: E402  (after the logger is set)
from scapy.layers.vxlan import VXLAN  # noqa: E402

from fleet_case import FleetCase, plan, pod, wait_until  # noqa: E402
from fleet import traffic  # noqa: E402
from fleet.traffic import SteadyRequests  # noqa: E402

SENDER = os.path.join(os.path.dirname(traffic.__file__), "send_raw.py")
COPIES = 7
GATEWAY = plan.gateways()[0]  # east-1, beside east-web-0 and east-client
WEST, NORTH = plan.cluster("west"), plan.cluster("north")
HOLD_SECONDS = 2


def inner(source, target="east-web-0", port=9):
    """A UDP packet from address `source` to a closed port of a pod."""
    return IP(src=source, dst=pod(target).ipv4) / UDP(sport=4321, dport=port) / Raw(b"spoofed")


def tunnelled(vni, packet, outer=WEST.gateways[0].underlay, flags=0x08):
    """The packet encapsulated to east-1, with outer source `outer` (default: west's gateway)."""
    return (IP(src=outer, dst=GATEWAY.underlay) / UDP(sport=50000, dport=8472, chksum=0)
            / VXLAN(flags=flags, vni=vni) / Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


def spoofed_packets():
    """Rows of description, drop reason, and packet."""
    west = pod("west-client")
    return (
        ("an identity of north from west's gateway", "vni_cluster",
         tunnelled(NORTH.identity("client"), inner(west.ipv4))),
        ("an identity of east from west's gateway", "vni_cluster",
         tunnelled(pod("east-client").identity, inner(west.ipv4))),
        ("a source address of north from west's gateway", "source_outside_cluster",
         tunnelled(west.identity, inner(pod("north-client").ipv4))),
        ("a source address of east from west's gateway", "source_outside_cluster",
         tunnelled(west.identity, inner(pod("east-client").ipv4))),
        ("a source address outside the fleet", "source_outside_cluster",
         tunnelled(west.identity, inner("198.18.0.1"))),
        ("the identity of another pod of west", "identity_mismatch",
         tunnelled(WEST.identity("web"), inner(west.ipv4))),
        ("an identity that no pod has", "identity_mismatch",
         tunnelled(west.identity + 5000, inner(west.ipv4))),
        ("VNI 1, the host", "vni_host", tunnelled(1, inner(west.ipv4))),
        ("VNI 0, unassigned", "vni_scoped", tunnelled(0, inner(west.ipv4))),
        ("an aggregate identity", "vni_scoped", tunnelled(11, inner(west.ipv4))),
        ("an identity of cluster 0", "vni_scoped", tunnelled(4000, inner(west.ipv4))),
        ("a scoped identity truncated to 24 bits", "vni_scoped", tunnelled(0x01000123 & 0xffffff, inner(west.ipv4))),
        ("a multicast source", "martian", tunnelled(west.identity, inner("224.0.0.5"))),
        ("reserved bits in the tunnel header", "tunnel_header",
         tunnelled(west.identity, inner(west.ipv4), flags=0x88)),
    )


class Spoofing(FleetCase):
    settings = {"unknown_endpoint_hold": f"{HOLD_SECONDS}s"}

    def setUp(self):
        self.gateway = self.fleet.gateways[GATEWAY.name]
        server = pod("east-web-0")
        self.steady = SteadyRequests(self.fleet.pod("west", "client"), server.ipv4, plan.cluster("east").http_port,
                                     os.path.join(self.fleet.folder, "log", f"{self.id()}.log"))
        self.addCleanup(self.steady.stop)
        wait_until(lambda: len(self.steady.rows()) > 10, what="legitimate traffic")

    def tearDown(self):
        """Legitimate requests between the same two clusters must all have been answered."""
        seen = len(self.steady.rows())
        wait_until(lambda: len(self.steady.rows()) > seen + 20, what="legitimate traffic after the test")
        self.assertEqual([row for row in self.steady.stop() if row[3] != "-"], [])

    @staticmethod
    def send(netns, packet, copies=COPIES):
        netns.run(["/usr/bin/python3", SENDER, *[bytes(packet).hex()] * copies])

    @staticmethod
    def packets():
        return spoofed_packets()

    def gateway_drops(self):
        return self.gateway.drops()

    def test_every_kind_is_dropped_with_its_own_reason(self):
        router = self.fleet.topology.namespaces["router"]
        for case, reason, packet in self.packets():
            with self.subTest(case=case):
                before = self.gateway_drops()
                self.send(router, packet)
                wait_until(lambda: self.gateway_drops() != before, what=f"{case}: a drop")
                wait_until(lambda: self.gateway_drops().get(reason, 0) >= before.get(reason, 0) + COPIES,
                           what=f"{case}: {COPIES} drops as {reason}")
                after = self.gateway_drops()
                moved = {name: count - before.get(name, 0) for name, count in after.items()
                         if count != before.get(name, 0)}
                self.assertEqual(moved, {reason: COPIES})

    def test_packets_of_unknown_peers_and_foreign_sources_are_left_to_the_kernel(self):
        """The steer program takes packets of peers and of this cluster's sources only."""
        router = self.fleet.topology.namespaces["router"]
        west = pod("west-client")
        target = self.fleet.node("east", "node1")
        before = self.no_port_datagrams(target)
        not_a_peer, foreign = self.left_to_kernel("not_a_peer"), self.left_to_kernel("foreign_source")
        self.send(router, tunnelled(west.identity, inner(west.ipv4), outer="203.0.113.99"))
        self.send(router, tunnelled(pod("east-client").identity, inner(pod("east-client").ipv4),
                                    outer=plan.gateways()[1].underlay))
        self.send(self.fleet.pod("east", "client"),
                  IP(src=pod("north-client").ipv4, dst=west.ipv4) / UDP(sport=4321, dport=9) / Raw(b"spoofed"))
        wait_until(lambda: self.no_port_datagrams(target) >= before + 2 * COPIES, what="packets in the kernel")
        wait_until(lambda: self.left_to_kernel("foreign_source") >= foreign + COPIES, what="foreign sources counted")
        self.assertGreaterEqual(self.left_to_kernel("not_a_peer"), not_a_peer + 2 * COPIES)
        at_west = self.fleet.gateways["west-1"].drops()
        self.assertNotIn("source_outside_cluster", at_west, "the packet was forwarded to west")
        self.assertNotIn("identity_mismatch", at_west)

    def left_to_kernel(self, reason):
        """Packets that the steer programs passed to the kernel for `reason`, from `isthmus status`."""
        return sum(row.get("left_to_kernel", {}).get(reason, 0) for row in self.gateway.status()["devices"])

    @staticmethod
    def no_port_datagrams(node):
        """UDP packets received by the node's own stack for a port without a listener."""
        rows = [line.split() for line in node.run(["nstat", "-asz", "UdpNoPorts"]).stdout.splitlines()[1:]]
        return sum(int(row[1]) for row in rows)

    def test_a_pod_not_yet_published_is_accepted_for_the_hold_time(self):
        router = self.fleet.topology.namespaces["router"]
        packet = tunnelled(pod("west-client").identity, inner("10.2.1.77"))
        before = self.gateway_drops()
        self.send(router, packet, 1)
        flows = wait_until(lambda: [row for row in self.gateway.query("connections")["connections"]
                                    if "10.2.1.77" in str(row)],
                           what="the new pod's connection")
        self.assertEqual(self.gateway_drops().get("unknown_source", 0), before.get("unknown_source", 0))
        self.assertEqual(len(flows), 1)

        def dropped():
            self.send(router, packet, 1)
            return self.gateway_drops().get("unknown_source", 0) > before.get("unknown_source", 0)
        wait_until(dropped, timeout=60, what="the hold has ended")


# Waits in its namespace for the first probe of one gateway to another and prints its number.
FIRST_PROBE = """
import socket, sys
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
packets.settimeout(60)
print("listening", flush=True)
ends = b"".join(map(socket.inet_aton, sys.argv[1:3]))
while True:
    packet = packets.recv(2048)
    at = packet.find(b"ISTP")  # a probe, behind an IPv4 header and one of UDP
    if at > 0 and packet[at - 16:at - 8] == ends and packet[at + 5] == 1:
        print(int.from_bytes(packet[at + 8:at + 12], "big"))
        break
"""


class Probes(FleetCase):
    def test_a_gateway_that_starts_again_numbers_them_otherwise(self):
        """So that nobody who does not see them can answer them for another gateway."""
        west = self.fleet.gateways["west-1"]
        router = self.fleet.topology.namespaces["router"]
        numbers = set()
        for _ in range(2):
            west.stop()
            watcher = subprocess.Popen(router.enter(["/usr/bin/python3", "-c", FIRST_PROBE, WEST.gateways[0].underlay,
                                                     GATEWAY.underlay]), stdout=subprocess.PIPE, text=True)
            self.addCleanup(watcher.wait)
            self.assertEqual(watcher.stdout.readline(), "listening\n")
            west.start()
            numbers.add(watcher.communicate(timeout=90)[0])
        self.assertEqual(len(numbers), 2, numbers)
        self.assertNotIn("", numbers)


class SpoofingAmong511Clusters(Spoofing):
    """The same with cluster ids of 9 bits in identities."""

    @classmethod
    def make_fleet(cls):
        plan.max_connected_clusters = 511
        cls.addClassCleanup(setattr, plan, "max_connected_clusters", 255)
        return super().make_fleet()

    @staticmethod
    def packets():
        west = pod("west-client")
        wrong_shift = (WEST.id << plan.IDENTITY_SHIFT[255]) + 1002
        return (*spoofed_packets(), ("the pod's identity with cluster ids of 8 bits", "vni_cluster",
                                      tunnelled(wrong_shift, inner(west.ipv4))))


if __name__ == "__main__":
    unittest.main()
