"""Aliases beside the kernel's NETMAP: the same packets through a gateway of an overlapping cluster and its peer, and
through nftables and a VXLAN tunnel of the kernel's, arrive as the same bytes, but for hop limits; or the difference is
in the list DIFFER, with its reason."""

import logging
import os
import subprocess
import unittest

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.all import (  # noqa: E402  (after the logger is set)
    GRE, ICMP, IP, SCTP, TCP, UDP, ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPOption_NOP, IPv6,
    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN, Raw, SCTPChunkInit)

from alias_test import Overlapping  # noqa: E402
from fleet_case import plan, pod, wait_until  # noqa: E402
from fleet.netns import NODE_SYSCTLS, POD_SYSCTLS, Namespace, connect  # noqa: E402
from fleet.traffic import ping  # noqa: E402

# What is not the same, and why.
DIFFER = {
    "fragments 6": "the kernel puts datagrams together to translate them, and sends fragments of other lengths and "
                   "numbers; a gateway translates each as it comes",
}
SEND = """
import socket, sys, time
for packet in map(bytes.fromhex, sys.argv[1:]):
    six = packet[0] >> 4 == 6
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]) if six
                            else socket.inet_ntoa(packet[16:20]), 0))
    time.sleep(0.02)
"""
# Prints what arrives for one address, until it is told to end.
RECEIVE = """
import ipaddress, socket, sys, threading
own = ipaddress.ip_address(sys.argv[1]).packed
at = 24 if len(own) == 16 else 16
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
packets.bind(("eth0", 0))
print("listening", flush=True)
def receive():
    while True:
        packet, address = packets.recvfrom(65535)
        discovery = len(own) == 16 and packet[6] == 58 and 133 <= packet[40] <= 137
        if address[2] != socket.PACKET_OUTGOING and packet[at:at + len(own)] == own and not discovery:
            print(packet.hex(), flush=True)
threading.Thread(target=receive, daemon=True).start()
sys.stdin.read()
"""
# Nobody answers, so that a connection is what the test makes of it.
HUSH = """
table inet hush {
  chain received {
    type filter hook input priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  }
}
"""


class KernelChain:
    """A pod, an edge with NETMAP, a far edge and a far pod, with the addresses of the fleet's."""

    def __init__(self, name, near, far, own, alias):
        self.spaces = {each: Namespace(f"{name}-{each}", POD_SYSCTLS if each.startswith("pod") else NODE_SYSCTLS)
                       for each in ("pod1", "edge1", "edge2", "pod2")}
        pod1, edge1, edge2, pod2 = self.spaces.values()
        connect(edge1, "under", edge2, "under")
        for number, (inside, edge, who) in enumerate(((pod1, edge1, near), (pod2, edge2, far)), 1):
            connect(inside, "eth0", edge, "inside")
            other = 3 - number
            tunnel = f"id 7 local 198.51.100.{number} remote 198.51.100.{other} dstport 8472 dev under"
            inside.ip(f"addr add {who.ipv4}/32 dev eth0", f"addr add {who.ipv6}/128 dev eth0",
                      "link set eth0 addrgenmode none", "route add 169.254.1.1 dev eth0",
                      "route add default via 169.254.1.1", "addr add fe80::2/64 dev eth0")
            inside.ip("route add default via fe80::1 dev eth0", family=("-6",))
            edge.ip("addr add 169.254.1.1/32 dev inside", "addr add fe80::1/64 dev inside",
                    f"route add {who.ipv4}/32 dev inside", f"route add {who.ipv6}/128 dev inside",
                    f"addr add 198.51.100.{number}/24 dev under",
                    f"link add vx type vxlan {tunnel}",
                    "link set vx mtu 1450 up", f"addr add 192.0.2.{number}/24 dev vx",
                    f"addr add 2001:db8::{number}/64 dev vx")
            for prefix in ("0.0.0.0/0 via 192.0.2.", "::/0 via 2001:db8::"):
                edge.ip(f"route add {prefix}{other} dev vx", family=("-6",) if ":" in prefix else ())
        rules = ""
        for family, mine, called in zip(("ip", "ip6"), own, alias):
            rules += (f"table {family} netmap {{\n"
                      f"  chain out {{ type nat hook postrouting priority srcnat;\n"
                      f"    oifname vx snat {family} prefix to {family} saddr map {{ {mine} : {called} }}\n  }}\n"
                      f"  chain in {{ type nat hook prerouting priority dstnat;\n"
                      f"    iifname vx dnat {family} prefix to {family} daddr map {{ {called} : {mine} }}\n  }}\n}}\n")
        edge1.run(["nft", "-f", "-"], stdin=rules)

    def remove(self):
        for each in self.spaces.values():
            each.remove()


def arrivals(sender, receiver, address, packets):
    """What arrives for the address when the packets are sent."""
    watch = subprocess.Popen(receiver.enter(["/usr/bin/python3", "-c", RECEIVE, address]), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout.readline() == "listening\n"
        sender.run(["/usr/bin/python3", "-c", SEND, *(bytes(packet).hex() for packet in packets)])
        sender.run(["sleep", "0.5"])
    finally:
        out = watch.communicate()[0]
    return [bytes.fromhex(line) for line in out.split()]


def without_hops(packet):
    """The packet without what each router changes."""
    out = bytearray(packet)
    if packet[0] >> 4 == 6:
        out[7] = 0
    else:
        out[8] = 0
        out[10:12] = b"\0\0"
    return bytes(out)


def rows(source, target, port):
    """{name: packets} from one pod to another; `port` upwards are the source's."""
    def four(**more):
        return IP(src=source.ipv4, dst=target[0], id=port & 0xffff, **more)

    def six(**more):
        return IPv6(src=source.ipv6, dst=target[1], fl=port, **more)
    data = Raw(bytes(range(97, 97 + 25)))
    out = {}
    for family, ip in (("IPv4", four), ("IPv6", six)):
        udp = dict(sport=port, dport=4711)
        out |= {
            f"{family} UDP": [ip() / UDP(**udp) / data],
            f"{family} UDP without data": [ip() / UDP(sport=port + 1, dport=4711)],
            f"{family} UDP of one byte": [ip() / UDP(sport=port + 2, dport=4711) / Raw(b"x")],
            f"{family} UDP, full size": [ip() / UDP(sport=port + 3, dport=4711) / Raw(b"isthmus." * 160)],
            f"{family} UDP to port 0": [ip() / UDP(sport=port + 4, dport=9) / data],
            f"{family} TCP SYN with options": [ip() / TCP(sport=port, dport=80, flags="S", seq=7, options=[
                ("MSS", 1200), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)])],
            f"{family} SCTP": [ip() / SCTP(sport=port, dport=80, tag=0) / SCTPChunkInit(init_tag=9)],
        }
        for bits in (0x01, 0x02, 0x03, 0xb8, 0xff):
            field = {"tos": bits} if family == "IPv4" else {"tc": bits}
            out[f"{family} traffic class {bits:#04x}"] = [ip(**field) / UDP(sport=port + 8 + bits, dport=4711) / data]
    out |= {
        "IPv4 UDP without a checksum": [four() / UDP(sport=port + 5, dport=4711, chksum=0) / data],
        "IPv4 UDP, not to be fragmented": [four(flags="DF") / UDP(sport=port + 6, dport=4711) / data],
        "IPv4 UDP behind an option": [four(options=[IPOption_NOP()] * 4) / UDP(sport=port + 7, dport=4711) / data],
        "IPv4 echo": [four() / ICMP(type=8, id=port & 0xffff, seq=1) / data],
        "IPv4 GRE": [four() / GRE(proto=0x0800) / IP(src="192.0.2.1", dst="192.0.2.2") / data],
        "IPv6 echo": [six() / ICMPv6EchoRequest(id=port & 0xffff, seq=1, data=b"isthmus")],
        "IPv6 UDP behind destination options": [
            six() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / UDP(sport=port + 7, dport=4711) / data],
    }
    return out


class Netmap(Overlapping):
    @classmethod
    def prepare(cls):
        cls.near, cls.far = pod("south-client"), pod("north-client")
        cluster = plan.cluster("south")
        cls.chain = KernelChain(f"ist-t{os.getpid()}k", cls.near, cls.far, cluster.pod_cidrs, cluster.fleet_cidrs)
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
