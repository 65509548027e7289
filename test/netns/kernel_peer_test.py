"""Interoperability with tunnel ends that share no code with the gateway, over both families, full-size segments.

The kernel's VXLAN device (collect-metadata, as on a Cilium node), and Open vSwitch's Geneve in user space.
"""

import unittest

from fleet_case import LOAD, FleetCase, addresses, pod, wait_until
from kernel_peer import SOUTH, KernelPeer
from ovs_peer import OpenVswitchPeer
from fleet import plan
from fleet.load import PORT, LoadClient, LoadServer
from fleet.traffic import ping

HEALTH = 4  # the reserved identity used by health probes
BYTES = 200000  # per round: about 140 full-size segments


class KernelVxlanPeer(FleetCase):
    encapsulation = "vxlan"
    families = (4,)  # of the gateways' underlay addresses
    east = ": 198.51.100.11."  # east-1 as a sender in tcpdump's lines
    header = "flags [I] (0x08)"
    vni_word = "instance "

    @classmethod
    def make_fleet(cls):
        for name, value in (("encapsulation", cls.encapsulation), ("underlay_families", cls.families)):
            cls.addClassCleanup(setattr, plan, name, getattr(plan, name))
            setattr(plan, name, value)
        return super().make_fleet()

    @classmethod
    def make_peer(cls):
        return KernelPeer(cls.fleet)

    @classmethod
    def prepare(cls):
        cls.peer = cls.make_peer()
        south = addresses(SOUTH.pods())
        for gateway in cls.fleet.live():
            gateway.wait_endpoints(south)

    def exchange(self, server_pod, client_pod, *options):
        """Echoes data over both families at once; returns the report after three rounds on every connection."""
        server = LoadServer(self.fleet, server_pod, LOAD)
        self.addCleanup(server.stop)
        client = LoadClient(self.fleet, client_pod, LOAD, f"{client_pod.full_name}-{server_pod.full_name}",
                            [(server_pod.ipv4, PORT), (server_pod.ipv6, PORT)],
                            "--connections", 8, "--interval-ms", 20, *options)
        self.addCleanup(client.stop)
        client.wait_open(8)
        report = client.wait_rounds(3)
        self.assertEqual(report["failures"], {})
        return report

    def tunnel_frames(self, netns, device, run):
        """tcpdump's lines for the tunnel packets on a device during `run`: outer headers, one line per frame."""
        capture = netns.start(
            "tcpdump", ["tcpdump", "-Z", "root", "-nn", "-e", "-l", "-i", device, "-c", "2000", "udp", "port",
                        str(plan.TUNNEL_PORTS[self.encapsulation])],
            f"{self.fleet.folder}/log/tcpdump-{device}.log")
        try:
            wait_until(lambda: "listening" in capture.log_tail(), what="tcpdump is capturing")
            run()
        finally:
            capture.stop()
        return [line for line in capture.log_tail(100000).splitlines() if self.vni_word in line]

    def test_ping_works_in_both_directions(self):
        for ours in ("east-web-0", "north-web-0"):
            target = pod(ours)
            for address in (target.ipv4, target.ipv6):
                self.assertTrue(ping(self.fleet.pod("south", "client"), address), f"south to {address}")
        for address in (self.peer.pod("web-0").ipv4, self.peer.pod("web-0").ipv6):
            self.assertTrue(ping(self.fleet.pod("east", "client"), address), f"east to {address}")
            self.assertTrue(ping(self.fleet.pod("north", "client"), address), f"north to {address}")

    def test_full_size_tcp_from_the_kernel_peer_arrives_intact(self):
        report = self.exchange(pod("east-web-0"), self.peer.pod("client"), "--bytes", BYTES)
        self.assertGreater(report["bytes"], 3 * 8 * BYTES - 1)
        self.assertEqual(self.checksum_errors(), {})

    def test_full_size_tcp_to_the_kernel_peer_arrives_intact(self):
        report = self.exchange(self.peer.pod("web-0"), pod("north-client"), "--bytes", BYTES)
        self.assertGreater(report["bytes"], 3 * 8 * BYTES - 1)
        self.assertEqual(self.checksum_errors(), {})

    def test_udp_arrives_intact_in_both_directions(self):
        self.exchange(self.peer.pod("web-0"), pod("east-client"), "--udp", "--bytes", 1200)
        self.exchange(pod("east-web-1"), self.peer.pod("client"), "--udp", "--bytes", 1200)
        self.assertEqual(self.checksum_errors(), {})

    def test_full_size_frames_have_cilium_compatible_outer_headers(self):
        lines = self.tunnel_frames(self.fleet.node("south", "node1"), "eth0", lambda: self.exchange(
            self.peer.pod("web-0"), pod("east-client"), "--bytes", BYTES))
        sent = [line for line in lines if self.east in line]
        self.assertTrue(sent, lines[:3])
        self.assertEqual(self.drops().get("tunnel_checksum", 0), 0)
        self.assertTrue(any("length 1514:" in line for line in sent), "no full-size frame captured from east-1")
        self.assertEqual([line for line in sent if self.header not in line], [])
        vnis = {int(line.split(self.vni_word)[1].split(",")[0].split()[0], 0) for line in sent}
        self.assertEqual(vnis - {HEALTH}, {pod("east-client").identity}, "the VNI is not the sender's identity")


class KernelVxlanPeerOverIpv6(KernelVxlanPeer):
    """The gateways have both families; south has IPv6 only, and its kernel drops what has no valid UDP checksum."""

    families = (4, 6)
    east = ": fd00:ee:1::11."

    @classmethod
    def make_peer(cls):
        return KernelPeer(cls.fleet, underlay=6)


class GenevePeer(KernelVxlanPeer):
    encapsulation = "geneve"
    header = "Geneve, Flags [none]"
    vni_word = "vni "

    @classmethod
    def make_peer(cls):
        return OpenVswitchPeer(cls.fleet)


class GenevePeerOverIpv6(GenevePeer):
    families = (6,)
    east = ": fd00:ee:1::11."

    @classmethod
    def make_peer(cls):
        return OpenVswitchPeer(cls.fleet, underlay=6)


if __name__ == "__main__":
    unittest.main()
