"""Dissects what the path sends with scapy and tshark, which share no code with it.

The input packets are built with scapy too. expected.txt holds what tshark reports for the capture files, one line per
frame, without the fields that differ between runs (outer source port, IP identification). Set ISTHMUS_WRITE_GOLDEN to
write it anew.
"""

import os
import subprocess
import tempfile
import unittest

import logging

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.all import (ICMP, IP, TCP, UDP, Ether, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6, Raw,  # noqa: E402
                       rdpcap, wrpcap)
from scapy.contrib.geneve import GENEVE  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402

PORTS = {"vxlan": 8472, "geneve": 6081}
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(os.environ.get("ISTHMUS_BUILD", "build"), "test", "golden", "make-pcap")
EXPECTED = os.path.join(HERE, "expected.txt")

CLIENT, SERVER, VIP = "10.1.0.10", "10.2.0.20", "10.200.0.10"
CLIENT6, SERVER6, VIP6 = "fd00:1::10", "fd00:2::20", "fd00:ff::a"
GATEWAY, PEER = "192.0.2.1", "192.0.2.2"
LOCAL_IDENTITY, REMOTE_IDENTITY = (1 << 16) + 1001, (2 << 16) + 2001
FIELDS = ("ip.version ipv6.version ip.src ip.dst ipv6.src ipv6.dst ip.len ip.ttl ipv6.hlim ip.flags.df ip.dsfield "
          "udp.dstport udp.checksum vxlan.flags vxlan.vni tcp.srcport tcp.dstport tcp.flags udp.srcport "
          "icmp.type icmp.code icmpv6.type icmp.mtu icmpv6.mtu").split()


def ether(packet):
    return Ether(src="02:00:00:00:0a:01", dst="02:00:00:00:00:02") / packet


def tunnelled(inner, vni=REMOTE_IDENTITY, source=PEER, **vxlan):
    return (Ether(src="02:00:00:00:0f:fe", dst="02:00:00:00:00:01") / IP(src=source, dst=GATEWAY, id=7) /
            UDP(sport=50000, dport=8472, chksum=0) / VXLAN(flags=8, vni=vni, **vxlan) /
            Ether(src="02:49:c0:00:02:02", dst="02:49:c0:00:02:01") / inner)


def requests():
    """From local pods: direct and to the VIPs, both families, TCP, UDP and echo; full size, and one byte more."""
    full = b"f" * (1450 - 40)
    return [ether(packet) for packet in (
        IP(src=CLIENT, dst=SERVER) / TCP(sport=4001, dport=8080, flags="S"),
        IP(src=CLIENT, dst=SERVER, tos=3) / TCP(sport=4001, dport=8080, flags="A") / Raw(full),
        IP(src=CLIENT, dst=VIP) / TCP(sport=4002, dport=80, flags="S"),
        IP(src=CLIENT, dst=VIP) / UDP(sport=4003, dport=80) / Raw(b"odd"),
        IP(src=CLIENT, dst=SERVER) / ICMP(type=8, id=77, seq=1) / Raw(b"echo"),
        IPv6(src=CLIENT6, dst=SERVER6) / TCP(sport=4004, dport=8080, flags="S"),
        IPv6(src=CLIENT6, dst=VIP6) / UDP(sport=4005, dport=80) / Raw(b"six"),
        IPv6(src=CLIENT6, dst=SERVER6) / ICMPv6EchoRequest(id=78, seq=1, data=b"echo"),
        IP(src=CLIENT, dst=SERVER, flags="DF") / TCP(sport=4001, dport=8080, flags="A") / Raw(full + b"!"),
        IPv6(src=CLIENT6, dst=SERVER6) / TCP(sport=4004, dport=8080, flags="A") / Raw(b"f" * (1450 - 59)),
        IP(src="10.3.0.1", dst=SERVER) / TCP(sport=1, dport=2, flags="S"),
    )]


def incoming():
    """From the peer: packets of a remote client, and packets that must be dropped."""
    syn = IP(src=SERVER, dst=CLIENT) / TCP(sport=5001, dport=22, flags="S")
    return [tunnelled(syn), tunnelled(IPv6(src=SERVER6, dst=CLIENT6) / UDP(sport=5002, dport=5300) / Raw(b"query")),
            tunnelled(syn, vni=LOCAL_IDENTITY), tunnelled(syn, vni=1), tunnelled(syn, source="192.0.2.77"),
            tunnelled(syn, vni=REMOTE_IDENTITY + 1), tunnelled(syn, reserved2=1)]


def replies():
    """From the peer: replies to the requests to the VIPs."""
    return [tunnelled(IP(src=SERVER, dst=CLIENT) / TCP(sport=8080, dport=4002, flags="SA") / Raw(b"r" * 1000)),
            tunnelled(IP(src=SERVER, dst=CLIENT) / UDP(sport=8080, dport=4003) / Raw(b"reply")),
            tunnelled(IPv6(src=SERVER6, dst=CLIENT6) / UDP(sport=8080, dport=4005) / Raw(b"reply six"))]


def checksums_hold(packet):
    """Whether a packet (from IP on) is unchanged when scapy computes every checksum and length anew."""
    fresh = packet.copy()
    for layer in fresh.layers():
        if layer is UDP and fresh[layer].dport == 8472:
            continue  # the outer UDP checksum is always zero
        for field in ("chksum", "len", "plen", "cksum"):
            fresh[layer].fields.pop(field, None)
    return bytes(fresh) == bytes(packet)


class Path(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.drops = {}
        cls.to_local, cls.to_underlay = cls.run_path("first", requests(), incoming())
        cls.back_local, cls.back_underlay = cls.run_path("second", [], replies())

    @classmethod
    def file(cls, name):
        return os.path.join(cls.folder, name + ".pcap")

    @classmethod
    def run_path(cls, name, local, underlay):
        """Runs the path over these packets. Returns the packets sent to the local side and to the underlay."""
        wrpcap(cls.file(f"{name}-local-in"), [bytes(packet) for packet in local] or [], linktype=1)
        wrpcap(cls.file(f"{name}-underlay-in"), [bytes(packet) for packet in underlay] or [], linktype=1)
        done = subprocess.run([PROGRAM, cls.folder, *(cls.file(f"{name}-{part}") for part in (
            "local-in", "underlay-in", "local-out", "underlay-out"))], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{PROGRAM}: {done.stdout}{done.stderr}")
        cls.drops[name] = dict((line.split()[0], int(line.split()[1])) for line in done.stdout.splitlines()[1:])
        return rdpcap(cls.file(f"{name}-local-out")), rdpcap(cls.file(f"{name}-underlay-out"))

    def inners(self):
        return [packet[VXLAN].payload.payload for packet in self.to_underlay]

    def test_exactly_the_valid_packets_pass(self):
        self.assertEqual(len(self.to_underlay), 8)
        self.assertEqual(len(self.to_local), 4, "two from the peer, two ICMP errors from the gateway")
        self.assertEqual(len(self.back_local), 3)
        self.assertEqual(self.drops["first"], {
            "foreign_source": 1, "identity_mismatch": 1, "oversize": 2, "tunnel_header": 1, "unknown_peer": 1,
            "vni_cluster": 1, "vni_host": 1})
        self.assertEqual(self.drops["second"], {})

    def test_outer_headers_are_as_cilium_writes_them(self):
        for packet in self.to_underlay:
            outer, udp, vxlan = packet[IP], packet[UDP], packet[VXLAN]
            self.assertEqual((packet.src, packet.dst), ("02:00:00:00:00:01", "02:00:00:00:0f:fe"))
            # Unlike Cilium's: to gateways, whose paths' MTU is learned, with DF.
            self.assertEqual((outer.src, outer.dst, outer.ttl, str(outer.flags)), (GATEWAY, PEER, 64, "DF"))
            self.assertEqual(outer.len, len(packet) - 14)
            self.assertEqual((udp.dport, udp.chksum, udp.len), (8472, 0, outer.len - 20))
            self.assertEqual((int(vxlan.flags), vxlan.vni, vxlan.reserved1, vxlan.reserved2), (8, LOCAL_IDENTITY, 0, 0))
            self.assertFalse(int(vxlan.payload.dst.split(":")[0], 16) & 1, "the inner destination is unicast")

    def test_entropy_is_the_same_for_packets_of_a_flow_and_differs_between_flows(self):
        ports = [packet[UDP].sport for packet in self.to_underlay]
        self.assertEqual(ports[0], ports[1])
        self.assertGreater(len(set(ports)), 4)

    def test_every_checksum_is_what_scapy_computes(self):
        for packet in list(self.to_underlay) + list(self.to_local) + list(self.back_local):
            self.assertTrue(checksums_hold(packet.payload), packet.show(dump=True))
        for packet in self.inners():
            self.assertTrue(checksums_hold(packet), packet.show(dump=True))

    def test_the_vip_becomes_the_backend_and_the_reply_comes_from_the_vip(self):
        inners = self.inners()
        self.assertEqual([(inner.dst, inner.payload.dport) for inner in (inners[2], inners[3], inners[6])],
                         [(SERVER, 8080), (SERVER, 8080), (SERVER6, 8080)])
        self.assertEqual([inner.src for inner in (inners[2], inners[6])], [CLIENT, CLIENT6])
        seen = [(packet.payload.src, packet.payload.payload.sport, packet.payload.payload.dport)
                for packet in self.back_local]
        self.assertEqual(seen, [(VIP, 80, 4002), (VIP, 80, 4003), (VIP6, 80, 4005)])

    def test_ttl_is_decremented_once_on_local_delivery(self):
        self.assertEqual({inner.ttl if IP in inner else inner.hlim for inner in self.inners()}, {64})
        delivered = [packet for packet in self.to_local if ICMP not in packet and ICMPv6PacketTooBig not in packet]
        self.assertEqual({packet.payload.ttl if IP in packet else packet.payload.hlim for packet in delivered}, {63})

    def test_a_full_size_packet_fits_the_underlay_mtu_and_ecn_is_copied_to_the_outer_header(self):
        self.assertEqual(self.to_underlay[1][IP].len, 1500)
        self.assertEqual(self.to_underlay[1][IP].tos & 3, 3)
        self.assertEqual(self.to_underlay[0][IP].tos, 0)

    def test_an_oversize_packet_is_answered_with_the_mtu(self):
        too_big = [packet for packet in self.to_local if ICMP in packet and packet[ICMP].type == 3]
        self.assertEqual([(packet[IP].dst, packet[ICMP].code, packet[ICMP].nexthopmtu) for packet in too_big],
                         [(CLIENT, 4, 1450)])
        too_big6 = [packet for packet in self.to_local if ICMPv6PacketTooBig in packet]
        self.assertEqual([(packet[IPv6].dst, packet[ICMPv6PacketTooBig].mtu) for packet in too_big6], [(CLIENT6, 1450)])
        for error, original in ((too_big[0][ICMP], requests()[8]), (too_big6[0][ICMPv6PacketTooBig], requests()[9])):
            quoted = bytes(error.payload)
            self.assertGreaterEqual(len(quoted), 28)
            self.assertEqual(quoted, bytes(original.payload)[:len(quoted)], "the quoted packet is the one sent")

    def tshark(self, name, *options):
        checks = [word for layer in ("ip", "tcp", "udp") for word in ("-o", f"{layer}.check_checksum:TRUE")]
        done = subprocess.run(["tshark", "-n", "-r", self.file(name), "-d", "udp.port==8472,vxlan", *checks, *options],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_tshark_finds_no_error(self):
        # tshark takes the packet quoted by an ICMP error for a whole one; test_an_oversize_packet_... checks those.
        bad = ('ip.checksum.status=="Bad" || (tcp.checksum.status=="Bad" && !icmp && !icmpv6) || '
               'udp.checksum.status=="Bad" || icmp.checksum.status=="Bad" || icmpv6.checksum.status=="Bad" || '
               '_ws.malformed')
        for name in ("first-local-out", "first-underlay-out", "second-local-out"):
            self.assertEqual(self.tshark(name, "-Y", bad), "", name)
        self.assertEqual(len(self.tshark("first-underlay-out", "-Y", "vxlan").splitlines()), 8)

    def test_tshark_output_matches_the_golden_file(self):
        seen = ""
        for name in ("first-underlay-out", "first-local-out", "second-local-out"):
            options = ["-T", "fields", "-E", "separator=|", "-E", "aggregator=,"]
            rows = self.tshark(name, *options, *[word for field in FIELDS for word in ("-e", field)]).splitlines()
            seen += f"# {name}\n" + "".join(self.row(line) + "\n" for line in rows)
        if os.environ.get("ISTHMUS_WRITE_GOLDEN"):
            with open(EXPECTED, "w", encoding="ascii") as file:
                file.write(seen)
        with open(EXPECTED, encoding="ascii") as file:
            self.assertEqual(seen, file.read())

    @staticmethod
    def row(line):
        """The fields that are present, with their names; an entropy source port is replaced by the word."""
        cells = []
        for field, value in zip(FIELDS, line.split("|")):
            if field == "udp.srcport":
                value = ",".join("entropy" if int(port) >= 0xc000 else port for port in value.split(",") if port)
            if value:
                cells.append(f"{field}={value}")
        return " ".join(cells)


def in_fabric(inner, kind, underlay):
    """The packet in the peer's tunnel; `kind` none: as it is, on the underlay."""
    if kind == "none":
        return Ether(src="02:00:00:00:0f:fe", dst="02:00:00:00:00:01") / inner
    outer = IP(src=PEER, dst=GATEWAY, id=7) if underlay == 4 else IPv6(src="2001:db8::2", dst="2001:db8::1")
    udp = UDP(sport=50000, dport=PORTS[kind], **({"chksum": 0} if underlay == 4 else {}))
    header = VXLAN(flags=8, vni=REMOTE_IDENTITY) if kind == "vxlan" else GENEVE(vni=REMOTE_IDENTITY, proto=0x6558)
    return (Ether(src="02:00:00:00:0f:fe", dst="02:00:00:00:00:01") / outer / udp / header /
            Ether(src="02:49:c0:00:02:02", dst="02:49:c0:00:02:01") / inner)


class Fabrics(unittest.TestCase):
    """Every encapsulation over both families, and native routing: pod and service, both inner families, both ways."""

    FABRICS = [(kind, underlay) for kind in ("vxlan", "geneve") for underlay in (4, 6)] + [("none", 4)]

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name

    def run_path(self, name, kind, underlay, local, incoming_packets):
        """Returns (packets to the local side, packets to the underlay); nothing may be dropped."""
        paths = [os.path.join(self.folder, f"{name}-{part}.pcap")
                 for part in ("local-in", "underlay-in", "local-out", "underlay-out")]
        wrpcap(paths[0], [bytes(packet) for packet in local], linktype=1)
        wrpcap(paths[1], [bytes(packet) for packet in incoming_packets], linktype=1)
        done = subprocess.run([PROGRAM, self.folder, *paths, kind, str(underlay)], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stdout.splitlines()[1:]), (0, []), done.stdout + done.stderr)
        self.assert_tshark_finds_no_error(paths[2:])
        return rdpcap(paths[2]), rdpcap(paths[3])

    def assert_tshark_finds_no_error(self, paths):
        bad = ('ip.checksum.status=="Bad" || tcp.checksum.status=="Bad" || udp.checksum.status=="Bad" || '
               'icmp.checksum.status=="Bad" || icmpv6.checksum.status=="Bad" || _ws.malformed')
        checks = [word for layer in ("ip", "tcp", "udp") for word in ("-o", f"{layer}.check_checksum:TRUE")]
        for path in paths:
            done = subprocess.run(["tshark", "-n", "-r", path, "-d", "udp.port==8472,vxlan", "-d",
                                   "udp.port==6081,geneve", *checks, "-Y", bad],
                                  capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def assert_outer(self, packet, kind, underlay):
        """Checks the tunnel's headers; returns the inner IP packet."""
        if kind == "none":
            self.assertNotIn(packet[packet.layers()[1]].fields.get("dport"), PORTS.values())
            return packet.payload
        outer = packet.payload
        self.assertEqual(type(outer), IP if underlay == 4 else IPv6)
        self.assertEqual((outer.src, outer.dst), (GATEWAY, PEER) if underlay == 4 else ("2001:db8::1", "2001:db8::2"))
        udp = outer.payload
        self.assertEqual((udp.dport, udp.len), (PORTS[kind], len(bytes(udp))))
        self.assertEqual(udp.chksum == 0, underlay == 4)
        self.assertTrue(underlay == 4 or outer_checksum_holds(outer), "outer UDP checksum")
        header = udp.payload if kind == "vxlan" else GENEVE(bytes(udp.payload))
        self.assertEqual(header.vni, LOCAL_IDENTITY)
        self.assertEqual(bytes(header)[:4], b"\x08\0\0\0" if kind == "vxlan" else b"\0\0\x65\x58")
        return Ether(bytes(header)[8:]).payload

    def test_each_carries_pods_and_services_of_both_families_both_ways(self):
        # With native routing the reply to a service's backend goes to the translation address, on a port of its choice.
        for kind, underlay in self.FABRICS:
            with self.subTest(kind=kind, underlay=underlay):
                self.check(kind, underlay)

    def check(self, kind, underlay):
        name = f"{kind}{underlay}"
        outgoing = [ether(packet) for packet in (
            IP(src=CLIENT, dst=SERVER) / TCP(sport=4001, dport=8080, flags="S"),
            IP(src=CLIENT, dst=VIP) / UDP(sport=4003, dport=80) / Raw(b"odd"),
            IP(src=CLIENT, dst=SERVER) / ICMP(type=8, id=77, seq=1) / Raw(b"echo"),
            IP(src=CLIENT, dst=SERVER) / UDP(sport=4007, dport=9999, chksum=0) / Raw(b"no checksum"),
            IPv6(src=CLIENT6, dst=SERVER6) / TCP(sport=4004, dport=8080, flags="S"),
            IPv6(src=CLIENT6, dst=VIP6) / UDP(sport=4005, dport=80) / Raw(b"six"),
            IPv6(src=CLIENT6, dst=SERVER6) / ICMPv6EchoRequest(id=78, seq=1, data=b"echo"))]
        arriving = [in_fabric(packet, kind, underlay) for packet in (
            IP(src=SERVER, dst=CLIENT) / TCP(sport=5001, dport=22, flags="S"),
            IPv6(src=SERVER6, dst=CLIENT6) / UDP(sport=5002, dport=5300) / Raw(b"query"))]
        to_local, to_underlay = self.run_path(name, kind, underlay, outgoing, arriving)
        self.assertEqual((len(to_local), len(to_underlay)), (len(arriving), len(outgoing)))
        inners = [self.assert_outer(packet, kind, underlay) for packet in to_underlay]
        for inner in inners:
            self.assertTrue(checksums_hold(inner) or inner.payload.fields.get("chksum") == 0, inner.show(dump=True))
        for packet in to_local:
            self.assertTrue(checksums_hold(packet.payload), packet.show(dump=True))
        self.assertEqual({inner.dst for inner in inners}, {SERVER, SERVER6})
        replies_in = [in_fabric(packet, kind, underlay) for packet in (
            IP(src=SERVER, dst=inners[0].src) / TCP(sport=8080, dport=4001, flags="SA"),
            IP(src=SERVER, dst=inners[1].src) / UDP(sport=8080, dport=inners[1].payload.sport) / Raw(b"reply"),
            IPv6(src=SERVER6, dst=inners[5].src) / UDP(sport=8080, dport=inners[5].payload.sport) / Raw(b"reply six"))]
        back, _ = self.run_path(f"{name}-replies", kind, underlay, [], replies_in)
        seen = [(packet.payload.src, packet.payload.dst, packet.payload.payload.dport) for packet in back]
        self.assertEqual(seen, [(SERVER, CLIENT, 4001), (VIP, CLIENT, 4003), (VIP6, CLIENT6, 4005)])


def outer_checksum_holds(outer):
    """Whether the UDP checksum over IPv6 is what scapy computes."""
    fresh = outer.copy()
    del fresh[UDP].chksum
    return bytes(fresh) == bytes(outer)


if __name__ == "__main__":
    unittest.main()
