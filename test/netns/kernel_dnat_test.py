"""A service beside the kernel's DNAT: the same packets through a client's gateway and its peer, and through nftables
and a VXLAN tunnel of the kernel's, arrive as the same bytes, but for hop limits; or the difference is in the list
DIFFER, with its reason."""

import os
import unittest

from arrivals import HUSH, arrivals, without_hops
from fleet_case import FleetCase, plan, pod
from fleet.traffic import ping
from fleet.shell import wait_until
from kernel_chain import KernelChain, dnat_rules, rows

from scapy.all import (
    ICMP, IP, TCP, UDP, ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment, Raw)

# Protocol, and the port of the service and of its backend.
PORTS = (("datagrams", "UDP", 4711, 4712), ("stream", "TCP", 80, 8088), ("chunks", "SCTP", 80, 8090))
# What is not the same, and why.
DIFFER = {
    "fragments 6": "the kernel puts datagrams together to translate them, and sends fragments of other lengths and "
                   "numbers; a gateway translates each as it comes",
    "by a router 4": "the kernel names the service as the sender of every error, so that a trace shows it at every "
                     "hop; a gateway leaves routers their addresses",
    "by a router 6": "the same",
}
# Of kernel_chain.rows(): what has no port, or another than the service's.
NO_SERVICE = ("echo", "GRE", "to another port")


class Dnat(FleetCase):
    @classmethod
    def prepare(cls):
        cls.near, cls.far, cls.router = pod("west-client"), pod("north-web-0"), pod("north-web-1")
        cls.vips = cls.fleet.allocate("shop/single")
        cls.fleet.hub.write_service(plan.cluster("north"), name="single", backends=[cls.far], ports=PORTS)
        cls.fleet.wait_backends("shop/single", [cls.far.ipv4, cls.far.ipv6])
        ports = {protocol.lower(): (asked, port) for _, protocol, asked, port in PORTS}
        cls.chain = KernelChain(f"ist-t{os.getpid()}k", cls.near, cls.far,
                                dnat_rules(cls.vips, (cls.far.ipv4, cls.far.ipv6), ports))
        cls.addClassCleanup(cls.chain.remove)
        cls.ours = (cls.fleet.pod("west", "client"), cls.fleet.pod("north", "web-0"))
        cls.kernels = (cls.chain.spaces["pod1"], cls.chain.spaces["pod2"])
        for address in (cls.far.ipv4, cls.far.ipv6):
            wait_until(lambda at=address: ping(cls.ours[0], at), 30, what="the backend's address")
        for space in (*cls.ours, *cls.kernels):
            space.run(["nft", "-f", "-"], stdin=HUSH)

    def ways(self, name, packets, back=False):
        """What arrives by the fleet and by the kernel, compared."""
        both = []
        six = packets[0].version == 6
        who = self.near if back else self.far
        for near, far in (self.ours, self.kernels):
            sender, receiver = (far, near) if back else (near, far)
            both.append(arrivals(sender, receiver, who.ipv6 if six else who.ipv4, packets))
        ours, kernels = ([without_hops(each).hex() for each in came] for came in both)
        self.assertEqual(len(kernels), len(packets), name)
        if name in DIFFER:
            self.assertEqual(len(ours), len(packets), name)
            self.assertNotEqual(ours, kernels, DIFFER[name])
        else:
            self.assertEqual(ours, kernels, name)
        return both[0]

    def ip(self, version, back=False, router=False):
        """Header of what the client sends to the service, or with `back` of what the backend or a router answers."""
        source = (self.router if router else self.far) if back else self.near
        target = (self.near.ipv4, self.near.ipv6) if back else self.vips
        return IP(src=source.ipv4, dst=target[0]) if version == 4 else IPv6(src=source.ipv6, dst=target[1])

    def errors(self, version):
        if version == 4:
            return {"unreachable": ICMP(type=3, code=3), "prohibited": ICMP(type=3, code=13),
                    "too long": ICMP(type=3, code=4, nexthopmtu=1300), "time exceeded": ICMP(type=11, code=0)}
        return {"unreachable": ICMPv6DestUnreach(code=4), "too long": ICMPv6PacketTooBig(mtu=1300),
                "time exceeded": ICMPv6TimeExceeded(code=0)}

    def test_what_a_client_sends(self):
        for name, packets in rows(self.near, self.vips, 20000).items():
            if not any(each in name for each in NO_SERVICE):
                with self.subTest(name):
                    self.ways(name, packets)

    def test_tcp_connections_in_step(self):
        for version in (4, 6):
            options = [("MSS", 1200), ("SAckOK", b""), ("WScale", 7)]
            for forth, flags, seq, ack, data, more in (
                    (True, "S", 100, 0, b"", options), (False, "SA", 500, 101, b"", options),
                    (True, "A", 101, 501, b"", []),
                    (True, "PA", 101, 501, b"a request of 25 bytes.....", []), (False, "A", 501, 127, b"", []),
                    (False, "PA", 501, 127, b"an answer", []), (True, "FA", 127, 510, b"", []),
                    (False, "FA", 510, 128, b"", []), (True, "A", 128, 511, b"", [])):
                ports = {"sport": 43000, "dport": 80} if forth else {"sport": 8088, "dport": 43000}
                with self.subTest(version=version, flags=flags, forth=forth):
                    packet = TCP(flags=flags, seq=seq, ack=ack, options=more, **ports) / Raw(data)
                    self.ways("TCP", [self.ip(version, not forth) / packet], back=not forth)

    def test_datagrams_are_answered_in_the_services_name(self):
        for version in (4, 6):
            for number, data in enumerate((b"", b"x", b"isthmus." * 160)):
                port = 43100 + number
                with self.subTest(version=version, size=len(data)):
                    self.ways("asked", [self.ip(version) / UDP(sport=port, dport=4711) / Raw(data)])
                    self.ways("answered", [self.ip(version, True) / UDP(sport=4712, dport=port) / Raw(data)], back=True)

    def quoted(self, version, port):
        """A datagram of the client's, as it has come to the backend."""
        packet = self.ip(version) / UDP(sport=port, dport=4711) / Raw(b"what is quoted")
        return without_hops(self.ways("asked", [packet])[0])

    def test_errors_of_the_backend(self):
        for version in (4, 6):
            for port, (name, error) in enumerate(self.errors(version).items(), 40000):
                with self.subTest(version=version, error=name):
                    quote = self.quoted(version, port)
                    self.ways(name, [self.ip(version, True) / error / Raw(quote)], back=True)

    def test_errors_of_a_router_in_the_backends_cluster(self):
        for version in (4, 6):
            error = ICMP(type=11, code=0) if version == 4 else ICMPv6TimeExceeded(code=0)
            quote = self.quoted(version, 40100)
            self.ways(f"by a router {version}", [self.ip(version, True, router=True) / error / Raw(quote)], back=True)

    def test_errors_of_the_client(self):
        for version in (4, 6):
            for port, (name, error) in enumerate(self.errors(version).items(), 40200):
                with self.subTest(version=version, error=name):
                    self.quoted(version, port)
                    told = self.ip(version, True) / UDP(sport=4712, dport=port) / Raw(b"told")
                    answer = self.ways("answered", [told], back=True)
                    self.ways(name, [self.ip(version) / error / Raw(without_hops(answer[0]))])

    def test_fragments(self):
        for version in (4, 6):
            for back in (False, True):
                ports = {"sport": 4712, "dport": 42000} if back else {"sport": 42000, "dport": 4711}
                with self.subTest(version=version, back=back):
                    ip = self.ip(version, back)
                    whole = bytes(ip / UDP(**ports) / Raw(b"isthmus." * 249))[20 if version == 4 else 40:]
                    packets = []
                    for at, part in ((0, whole[:1200]), (150, whole[1200:])):
                        if version == 4:
                            first = ip.copy()
                            first.id, first.frag, first.proto, first.flags = 42000, at, 17, "MF" if at == 0 else 0
                            packets.append(first / Raw(part))
                        else:
                            header = IPv6ExtHdrFragment(nh=17, offset=at, m=int(at == 0), id=42000)
                            packets.append(ip / header / Raw(part))
                    self.ways(f"fragments {version}", packets, back=back)


if __name__ == "__main__":
    unittest.main()
