"""Packets that claim to be somebody else's, of every class, made by scapy and sent at a live gateway.

Each dies under its own name in `isthmus drops`, or is left to the kernel by the steer program, and honest traffic of
the same peers goes on meanwhile.
"""

import logging
import os
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
    """A UDP packet from `source` (an address) to a pod; nobody answers on its port."""
    return IP(src=source, dst=pod(target).ipv4) / UDP(sport=4321, dport=port) / Raw(b"spoofed")


def tunnelled(vni, packet, outer=WEST.gateways[0].underlay, flags=0x08):
    """The packet in a tunnel to east-1, from the tunnel end `outer` (west's gateway)."""
    return (IP(src=outer, dst=GATEWAY.underlay) / UDP(sport=50000, dport=8472, chksum=0)
            / VXLAN(flags=flags, vni=vni) / Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


def tunnelled_claims():
    """What the packet claims, the name under which it dies, and the packet."""
    west = pod("west-client")
    return (
        ("west's gateway names an identity of north", "vni_cluster",
         tunnelled(NORTH.identity("client"), inner(west.ipv4))),
        ("west's gateway names an identity of ours", "vni_cluster",
         tunnelled(pod("east-client").identity, inner(west.ipv4))),
        ("west's gateway sends from a pod of north", "source_outside_cluster",
         tunnelled(west.identity, inner(pod("north-client").ipv4))),
        ("west's gateway sends from a pod of ours", "source_outside_cluster",
         tunnelled(west.identity, inner(pod("east-client").ipv4))),
        ("west's gateway sends from nowhere in the fleet", "source_outside_cluster",
         tunnelled(west.identity, inner("198.18.0.1"))),
        ("a pod with the identity of another pod of west", "identity_mismatch",
         tunnelled(WEST.identity("web"), inner(west.ipv4))),
        ("a pod with an identity nobody has", "identity_mismatch",
         tunnelled(west.identity + 5000, inner(west.ipv4))),
        ("VNI 1, the host", "vni_host", tunnelled(1, inner(west.ipv4))),
        ("VNI 0, nobody", "vni_scoped", tunnelled(0, inner(west.ipv4))),
        ("an aggregate identity", "vni_scoped", tunnelled(11, inner(west.ipv4))),
        ("an identity of cluster 0", "vni_scoped", tunnelled(4000, inner(west.ipv4))),
        ("a scoped identity cut to 24 bits", "vni_scoped", tunnelled(0x01000123 & 0xffffff, inner(west.ipv4))),
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
        wait_until(lambda: len(self.steady.rows()) > 10, what="honest traffic")

    def tearDown(self):
        """Whatever was sent, honest requests between the same two clusters were answered."""
        seen = len(self.steady.rows())
        wait_until(lambda: len(self.steady.rows()) > seen + 20, what="honest traffic afterwards")
        self.assertEqual([row for row in self.steady.stop() if row[3] != "-"], [])

    @staticmethod
    def send(space, packet, copies=COPIES):
        space.run(["/usr/bin/python3", SENDER, *[bytes(packet).hex()] * copies])

    @staticmethod
    def claims():
        return tunnelled_claims()

    def drops_here(self):
        return self.gateway.drops()

    def test_every_class_dies_under_its_own_name(self):
        router = self.fleet.topology.spaces["router"]
        for claim, reason, packet in self.claims():
            with self.subTest(claim=claim):
                before = self.drops_here()
                self.send(router, packet)
                wait_until(lambda: self.drops_here() != before, what=f"{claim}: a drop")
                wait_until(lambda: self.drops_here().get(reason, 0) >= before.get(reason, 0) + COPIES,
                           what=f"{claim}: {COPIES} drops as {reason}")
                after = self.drops_here()
                moved = {name: count - before.get(name, 0) for name, count in after.items()
                         if count != before.get(name, 0)}
                self.assertEqual(moved, {reason: COPIES})

    def test_a_stranger_and_a_foreign_source_do_not_reach_the_engine(self):
        """The steer program takes only what peers and this cluster's sources send; the rest is the kernel's."""
        router = self.fleet.topology.spaces["router"]
        west = pod("west-client")
        target = self.fleet.node("east", "node1")
        before, strangers, foreign = self.seen(target), self.left("not_a_peer"), self.left("foreign_source")
        self.send(router, tunnelled(west.identity, inner(west.ipv4), outer="203.0.113.99"))
        self.send(router, tunnelled(pod("east-client").identity, inner(pod("east-client").ipv4),
                                    outer=plan.gateways()[1].underlay))
        self.send(self.fleet.pod("east", "client"),
                  IP(src=pod("north-client").ipv4, dst=west.ipv4) / UDP(sport=4321, dport=9) / Raw(b"spoofed"))
        wait_until(lambda: self.seen(target) >= before + 2 * COPIES, what="the strangers' packets in the kernel")
        wait_until(lambda: self.left("foreign_source") >= foreign + COPIES, what="the foreign source counted")
        self.assertGreaterEqual(self.left("not_a_peer"), strangers + 2 * COPIES)
        at_west = self.fleet.gateways["west-1"].drops()
        self.assertNotIn("source_outside_cluster", at_west, "the foreign source was not sent on")
        self.assertNotIn("identity_mismatch", at_west)

    def left(self, why):
        """What the steer programs have left to the kernel, by why, as `isthmus status` has it."""
        return sum(row.get("left_to_kernel", {}).get(why, 0) for row in self.gateway.status()["devices"])

    @staticmethod
    def seen(node):
        """UDP packets that the node's own stack got for a port without a listener."""
        rows = [line.split() for line in node.run(["nstat", "-asz", "UdpNoPorts"]).stdout.splitlines()[1:]]
        return sum(int(row[1]) for row in rows)

    def test_a_pod_that_the_hub_does_not_know_yet_passes_for_the_configured_time(self):
        router = self.fleet.topology.spaces["router"]
        packet = tunnelled(pod("west-client").identity, inner("10.2.1.77"))
        before = self.drops_here()
        self.send(router, packet, 1)
        flows = wait_until(lambda: [row for row in self.gateway.query("connections")["connections"]
                                    if "10.2.1.77" in str(row)],
                           what="the new pod's connection")
        self.assertEqual(self.drops_here().get("unknown_source", 0), before.get("unknown_source", 0))
        self.assertEqual(len(flows), 1)

        def refused():
            self.send(router, packet, 1)
            return self.drops_here().get("unknown_source", 0) > before.get("unknown_source", 0)
        wait_until(refused, timeout=60, what="the hold has ended")


class SpoofingAmong511Clusters(Spoofing):
    """The same where a cluster's id is 9 bits of an identity."""

    @classmethod
    def make_fleet(cls):
        plan.max_connected_clusters = 511
        cls.addClassCleanup(setattr, plan, "max_connected_clusters", 255)
        return super().make_fleet()

    @staticmethod
    def claims():
        west = pod("west-client")
        wrong_count = (WEST.id << plan.IDENTITY_SHIFT[255]) + 1002
        return (*tunnelled_claims(), ("the number that a count of 255 gives the pod", "vni_cluster",
                                      tunnelled(wrong_count, inner(west.ipv4))))


if __name__ == "__main__":
    unittest.main()
