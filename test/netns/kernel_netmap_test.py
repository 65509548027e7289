"""Aliases beside the kernel's NETMAP: the same packets through a gateway of an overlapping cluster and its peer, and
through nftables and a VXLAN tunnel of the kernel's, arrive as the same bytes, but for hop limits; or the difference is
in the list DIFFER, with its reason."""

import os
import unittest

from alias_test import Overlapping
from arrivals import HUSH, arrivals, without_hops
from fleet_case import plan, pod, wait_until
from fleet.traffic import ping
from kernel_chain import KernelChain, netmap_rules, rows

from scapy.all import (
    ICMP, IP, TCP, UDP, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment, Raw)

# What is not the same, and why.
DIFFER = {
    "fragments 6": "the kernel puts datagrams together to translate them, and sends fragments of other lengths and "
                   "numbers; a gateway translates each as it comes",
}


class Netmap(Overlapping):
    @classmethod
    def prepare(cls):
        cls.near, cls.far = pod("south-client"), pod("north-client")
        cluster = plan.cluster("south")
        cls.chain = KernelChain(f"ist-t{os.getpid()}k", cls.near, cls.far,
                                netmap_rules(cluster.pod_cidrs, cluster.fleet_cidrs))
        cls.addClassCleanup(cls.chain.remove)
        for cluster_name in ("south", "north"):
            wait_until(lambda at=cluster_name: ping(cls.fleet.pod(at, "client"),
                                                    cls.far.ipv4 if at == "south" else cls.near.alias_ipv4), 30,
                       what="both ways")
        cls.ours = (cls.fleet.pod("south", "client"), cls.fleet.pod("north", "client"))
        cls.kernels = (cls.chain.spaces["pod1"], cls.chain.spaces["pod2"])
        for space in (*cls.ours, *cls.kernels):
            space.run(["nft", "-f", "-"], stdin=HUSH)

    @classmethod
    def tearDownClass(cls):
        for space in cls.ours:
            space.run(["nft", "delete", "table", "inet", "hush"], check=False)
        super().tearDownClass()

    def ways(self, name, packets, back=False, same=True):
        """What arrives by the fleet and by the kernel; `same`: it is compared."""
        both = []
        for near, far in (self.ours, self.kernels):
            sender, receiver = (far, near) if back else (near, far)
            six = packets[0].version == 6
            who = self.near if back else self.far
            both.append(arrivals(sender, receiver, who.ipv6 if six else who.ipv4, packets))
        ours, kernels = both
        self.assertEqual(len(kernels), len(packets), name)
        if not same:
            self.assertEqual(len(ours), len(packets), name)
        elif name in DIFFER:
            self.assertNotEqual([*map(without_hops, ours)], [*map(without_hops, kernels)], DIFFER[name])
        else:
            self.assertEqual([without_hops(each).hex() for each in ours],
                             [without_hops(each).hex() for each in kernels], name)
        return both

    def all_ways(self, of_rows, back=False):
        """Those of a family one after another, in which order they arrive."""
        for version in (4, 6):
            names = [(name, len(packets)) for name, packets in of_rows.items() if packets[0].version == version]
            both = self.ways(f"IPv{version}", [each for name, _ in names for each in of_rows[name]], back, same=False)
            for name, count in names:
                with self.subTest(name):
                    ours, kernels = ([without_hops(each).hex() for each in came[:count]] for came in both)
                    self.assertEqual(ours, kernels)
                both = [came[count:] for came in both]

    def test_what_leaves_the_cluster(self):
        self.all_ways(rows(self.near, (self.far.ipv4, self.far.ipv6), 20000))

    def test_what_comes_into_the_cluster(self):
        self.all_ways(rows(self.far, (self.near.alias_ipv4, self.near.alias_ipv6), 30000), back=True)

    def test_tcp_connections(self):
        """In step: conntrack takes what is not for invalid, and does not translate it."""
        for back in (False, True):
            for family in (0, 1):
                near, far = (self.near.ipv4, self.near.ipv6)[family], (self.far.ipv4, self.far.ipv6)[family]
                alias = (self.near.alias_ipv4, self.near.alias_ipv6)[family]
                opener, target = (far, alias) if back else (near, far)
                answerer, asked = (near, far) if back else (far, alias)
                kind = (IP, IPv6)[family]

                def packet(forth, flags, seq, ack, data=b"", options=()):
                    source, to = (opener, target) if forth else (answerer, asked)
                    ports = {"sport": 43000, "dport": 80} if forth else {"sport": 80, "dport": 43000}
                    return kind(src=source, dst=to) / TCP(flags=flags, seq=seq, ack=ack, options=list(options),
                                                          **ports) / Raw(data)
                mss = [("MSS", 1200), ("SAckOK", b""), ("WScale", 7)]
                for forth, *rest in ((True, "S", 100, 0, b"", mss), (False, "SA", 500, 101, b"", mss),
                                     (True, "A", 101, 501), (True, "PA", 101, 501, b"a request of 25 bytes....."),
                                     (False, "A", 501, 127), (False, "PA", 501, 127, b"an answer"),
                                     (True, "FA", 127, 510), (False, "FA", 510, 128), (True, "A", 128, 511)):
                    with self.subTest(back=back, family=family, flags=rest[0], forth=forth):
                        self.ways("TCP", [packet(forth, *rest)], back=forth == back)

    def test_errors_about_what_has_left(self):
        errors = {
            4: {"unreachable": ICMP(type=3, code=3), "too long": ICMP(type=3, code=4, nexthopmtu=1300),
                "time exceeded": ICMP(type=11, code=0)},
            6: {"too long": ICMPv6PacketTooBig(mtu=1300), "time exceeded": ICMPv6TimeExceeded(code=0)}}
        port = 40000
        for version, kinds in errors.items():
            for name, error in kinds.items():
                port += 1
                with self.subTest(version=version, error=name):
                    ip = IP(src=self.near.ipv4, dst=self.far.ipv4, id=port) if version == 4 else \
                        IPv6(src=self.near.ipv6, dst=self.far.ipv6, fl=port)
                    there = self.ways(name, [ip / UDP(sport=port, dport=4711) / Raw(b"what is quoted")])
                    outer = IP(src=self.far.ipv4, dst=self.near.alias_ipv4, id=port) if version == 4 else \
                        IPv6(src=self.far.ipv6, dst=self.near.alias_ipv6, fl=port)
                    quoted = without_hops(there[0][0])
                    self.ways(name, [outer / error / Raw(quoted)], back=True)

    def test_errors_about_what_has_come(self):
        for port, (version, error) in enumerate(((4, ICMP(type=3, code=3)), (4, ICMP(type=11, code=1)),
                                                 (6, ICMPv6PacketTooBig(mtu=1280))), 41000):
            with self.subTest(version=version, port=port):
                ip = IP(src=self.far.ipv4, dst=self.near.alias_ipv4, id=port) if version == 4 else \
                    IPv6(src=self.far.ipv6, dst=self.near.alias_ipv6, fl=port)
                there = self.ways("came", [ip / UDP(sport=port, dport=4711) / Raw(b"what is quoted")], back=True)
                outer = IP(src=self.near.ipv4, dst=self.far.ipv4, id=port) if version == 4 else \
                    IPv6(src=self.near.ipv6, dst=self.far.ipv6, fl=port)
                self.ways("came", [outer / error / Raw(without_hops(there[0][0]))])

    def test_fragments(self):
        for back in (False, True):
            port = 42000 + back
            source, own = (self.far, False) if back else (self.near, True)
            for version in (4, 6):
                with self.subTest(back=back, version=version):
                    target = (self.near.alias_ipv4, self.near.alias_ipv6) if not own else (self.far.ipv4, self.far.ipv6)
                    ip = IP(src=source.ipv4, dst=target[0]) if version == 4 else IPv6(src=source.ipv6, dst=target[1])
                    whole = bytes(ip / UDP(sport=port, dport=4711) / Raw(b"isthmus." * 249))
                    whole = whole[20 if version == 4 else 40:]
                    parts = [whole[:1200], whole[1200:]]
                    packets = []
                    for at, part in zip((0, 150), parts):
                        if version == 4:
                            packets.append(IP(src=source.ipv4, dst=target[0], id=port, frag=at, proto=17,
                                              flags="MF" if at == 0 else 0) / Raw(part))
                        else:
                            packets.append(IPv6(src=source.ipv6, dst=target[1], fl=port) /
                                           IPv6ExtHdrFragment(nh=17, offset=at, m=int(at == 0), id=port) / Raw(part))
                    self.ways(f"fragments {version}", packets, back=back)


if __name__ == "__main__":
    unittest.main()
