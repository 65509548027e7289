"""Tunnels of pods through the tunnels of gateways: VXLAN devices in pods of two clusters, over both families, whose
outer packets fit the path, or leave the pods in fragments, or settle and are forwarded in the kernel."""

import contextlib
import unittest

from fleet_case import FleetCase, pod, wait_until
from fleet.topology import POD_ROUTE_MTU
from fleet.traffic import iperf, ping

PORT = 4789
CLIENT, SERVER = "east-client", "west-web-0"
INNER = ("192.168.77.1", "192.168.77.2")
OUTER_HEADERS = {4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14}  # IP, UDP, VXLAN, Ethernet


class NestedTunnels(FleetCase):
    def netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    @contextlib.contextmanager
    def tunnel(self, family, mtu):
        """A VXLAN device in both pods."""
        ends = [(pod(name).ipv4 if family == 4 else pod(name).ipv6) for name in (CLIENT, SERVER)]
        for name, local, remote, address in ((CLIENT, *ends, INNER[0]), (SERVER, *reversed(ends), INNER[1])):
            netns = self.netns(name)
            netns.ip(f"link add nested mtu {mtu} type vxlan id 77 local {local} remote {remote} dstport {PORT}",
                     f"addr add {address}/24 dev nested", "link set nested up")
        try:
            wait_until(lambda: ping(self.netns(CLIENT), INNER[1]), what="the pods' tunnel")
            yield
        finally:
            for name in (CLIENT, SERVER):
                self.netns(name).ip("link del nested")

    def counted(self, name):
        return sum(gateway.status()["packets"][name] for gateway in self.fleet.live())

    def in_kernel(self):
        return sum(device.get("forwarded_in_kernel", {}).get("packets", 0)
                   for gateway in self.fleet.live() for device in gateway.status()["devices"])

    def test_what_fits_passes_whole_and_settles(self):
        for family in (4, 6):
            with self.subTest(family=family), self.tunnel(family, POD_ROUTE_MTU - OUTER_HEADERS[family]):
                fragments, in_kernel = self.counted("fragments"), self.in_kernel()
                size = POD_ROUTE_MTU - OUTER_HEADERS[family] - 28
                self.assertTrue(ping(self.netns(CLIENT), INNER[1], size=size, dont_fragment=True))
                got = iperf(self.netns(CLIENT), self.netns(SERVER), INNER[1], "-n", "20M", "-b", "40M")
                self.assertGreater(got["bytes"], 19 << 20)
                self.assertEqual(self.counted("fragments"), fragments)
                wait_until(lambda before=in_kernel: self.in_kernel() - before > 1000, what="packets in XDP")
        self.assertEqual(self.checksum_errors(), {})

    def test_what_is_too_long_passes_in_fragments(self):
        """Of the tunnel's packets, until the pods' kernels have learned to send shorter ones."""
        for family in (4, 6):
            with self.subTest(family=family), self.tunnel(family, 1500):
                before = self.counted("fragments")
                for size in (1472, 9000):
                    done = self.netns(CLIENT).run(["ping", "-n", "-c", "5", "-i", "0.1", "-W", "2", "-M", "dont", "-s",
                                                   str(size), INNER[1]], check=False)
                    self.assertIn("icmp_seq=5", done.stdout)
                if family == 4:  # the first of each, both ways, in two gateways
                    self.assertGreaterEqual(self.counted("fragments") - before, 2 * 2 * 2)
                got = iperf(self.netns(CLIENT), self.netns(SERVER), INNER[1], "-n", "20M")
                self.assertGreater(got["bytes"], 10 << 20)
        self.assertEqual(self.checksum_errors(), {})


if __name__ == "__main__":
    unittest.main()
