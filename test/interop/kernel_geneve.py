"""The kernel's Geneve device as a gateway's peer, in a virtual machine (kernels_test.py) whose kernel has it: the tests
of the kernel's VXLAN device, and byte for byte what arrives."""

import json
import unittest
from dataclasses import replace

import kernel_peer_test
from arrivals import HUSH, arrivals, without_hops
from fleet_case import plan, pod
from fleet.traffic import ping

# Without hardware help, everything is slow.
kernel_peer_test.BYTES = 50000
CLUSTERS = (
    replace(plan.cluster("east"), nodes=(plan.Node("node1", 1, 11, pods=("web-0", "web-1", "client")),),
            gateways=plan.cluster("east").gateways[:1]),
    plan.cluster("north"))
# RFC 6040, figure 4: the field of a packet that leaves a tunnel, by the inner and the outer one; None: it is dropped.
MERGED = ((0, 0, 0, None), (1, 1, 1, 3), (2, 1, 2, 3), (3, 3, 3, 3))


class Geneve(kernel_peer_test.KernelVxlanPeer):
    encapsulation = "geneve"
    header = "Geneve, Flags [none]"
    vni_word = "vni "
    underlay = 4

    @classmethod
    def make_fleet(cls):
        plan.CLUSTERS = CLUSTERS
        fleet = super().make_fleet()
        fleet.start_resolvers = lambda: None  # there are no names
        return fleet

    @classmethod
    def make_peer(cls):
        return kernel_peer_test.KernelPeer(cls.fleet, underlay=cls.underlay)

    @classmethod
    def prepare(cls):
        super().prepare()
        with open("/rows/rows.json", encoding="ascii") as file:
            cls.rows = json.load(file)

    def ends(self, way):
        """The namespaces of who sends and of who receives, both without answers of their own, and the latter's pod."""
        pods = [self.peer.pod("client"), pod("east-client")]
        pods = pods if way.endswith("to the gateway") else pods[::-1]
        spaces = [self.fleet.pod(each.cluster, each.name) for each in pods]
        self.assertTrue(ping(spaces[0], pods[1].ipv4))
        self.assertTrue(ping(spaces[0], pods[1].ipv6))
        for space in spaces:
            space.run(["nft", "-f", "-"], stdin=HUSH)
            self.addCleanup(space.run, ["nft", "delete", "table", "inet", "hush"])
        return *spaces, pods[1]

    def sent_and_arrived(self, way):
        """(family, {name: packets sent}, what has arrived)."""
        sender, receiver, target = self.ends(way)
        for family, named in self.rows[way].items():
            sent = {name: [bytes.fromhex(each) for each in packets] for name, packets in named.items()}
            yield int(family), sent, arrivals(sender, receiver, target.ipv6 if family == "6" else target.ipv4,
                                              [each for packets in sent.values() for each in packets])

    def assert_the_same_arrive(self, way):
        for _, sent, came in self.sent_and_arrived(way):
            expected = {name: [without_hops(each).hex() for each in packets] for name, packets in sent.items()}
            came = [without_hops(each).hex() for each in came]
            for name, packets in expected.items():
                with self.subTest(name):
                    self.assertEqual(came[:len(packets)], packets)
                came = came[len(packets):]
            self.assertEqual(came, [])

    def test_what_the_kernel_sends_arrives_byte_for_byte(self):
        self.assert_the_same_arrive("to the gateway")

    def test_what_the_gateway_sends_arrives_byte_for_byte(self):
        self.assert_the_same_arrive("to the kernel")

    def mark(self):
        """The router sets the outer ECN field by the length, as kernel_geneve_rows.py asks for."""
        router = self.fleet.topology.namespaces["router"]
        family, around = ("ip", 20 + 8 + 8 + 14) if self.underlay == 4 else ("ip6", 8 + 8 + 14)
        rules = "".join(f"udp dport 6081 {family} length {header + 8 + 100 + outer + around} {family} ecn set {outer}\n"
                        for header in (20, 40) for outer in range(4))
        router.run(["nft", "-f", "-"], stdin=f"table {family} marks {{\nchain forward {{\n"
                                             f"type filter hook forward priority 0\n{rules}}}\n}}\n")
        self.addCleanup(router.run, ["nft", "delete", "table", family, "marks"])

    def assert_marks(self, way):
        for family, sent, came in self.sent_and_arrived(way):
            def field(packet, family=family):
                return (packet[1] if family == 4 else packet[1] >> 4) & 3

            def port(packet, family=family):
                at = 20 if family == 4 else 40
                return int.from_bytes(packet[at:at + 2], "big")
            fields = {port(packet): field(packet) for packet in came}
            for name, (packet,) in sent.items():
                inner, outer = map(int, name.split())
                with self.subTest(family=family, inner=inner, outer=outer):
                    self.assertEqual(fields.get(port(packet)), MERGED[inner][outer])

    def test_marks_of_the_underlay_reach_pods_behind_the_gateway(self):
        self.mark()
        before = self.drops("east-1").get("ecn_not_capable", 0)
        self.assert_marks("marked, to the gateway")
        self.assertEqual(self.drops("east-1").get("ecn_not_capable", 0) - before, 2)

    def test_marks_of_the_underlay_reach_pods_behind_the_kernel(self):
        self.mark()
        self.assert_marks("marked, to the kernel")


class GeneveOverIpv6(Geneve):
    """South has IPv6 only, and its kernel drops what has no valid UDP checksum. Without what takes long and shows no
    more here."""

    test_full_size_tcp_to_the_kernel_peer_arrives_intact = None
    test_udp_arrives_intact_in_both_directions = None
    test_ping_works_in_both_directions = None

    families = (4, 6)
    east = ": fd00:ee:1::11."
    underlay = 6


if __name__ == "__main__":
    unittest.main()
