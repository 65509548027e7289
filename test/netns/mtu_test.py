"""Path MTU and ICMP: traces, segment sizes, and paths that carry less than their ends believe."""

import re
import unittest

from fleet_case import FleetCase, plan, pod
from fleet.traffic import iperf

PAIRS = (("east", "west"), ("north", "west"), ("west", "north"))


def pod_routes(case, cluster, name="client", mtu=None):
    """Gives a pod's default routes that MTU, or that of its device, until the test ends."""
    entry = pod(f"{cluster}-{name}")
    netns = case.fleet.pod(cluster, name)
    gateway = plan.cluster(cluster).node_pod_gateway(plan.cluster(cluster).node(entry.node))

    def route(bytes_):
        locked = f"mtu {bytes_}" if bytes_ else ""
        netns.ip(f"route replace default via {gateway} dev eth0 onlink {locked}")
        netns.ip(f"route replace default via fe80::1 dev eth0 {locked}", family=("-6",))
    route(mtu)
    case.addCleanup(netns.ip, "route flush cache")
    case.addCleanup(route, 1450)
    return netns


class Traces(FleetCase):
    """What traceroute shows of the way to a pod of another cluster."""

    def trace(self, cluster, address, *options):
        """The addresses of the hops, in order; "*" where one has not answered."""
        netns = self.fleet.pod(cluster, "client")
        done = netns.run(["traceroute", "-n", "-q", "1", "-w", "2", "-m", "8", *options, address])
        return re.findall(r"^ *\d+  (\S+)", done.stdout, re.MULTILINE)

    def test_a_trace_shows_the_other_clusters_gateway_and_ends_at_the_pod(self):
        for source, target in PAIRS:
            gateway = plan.cluster(target).gateways[0]
            server = pod(f"{target}-web-0")
            for own, address in ((gateway.translation_ipv4, server.ipv4), (gateway.translation_ipv6, server.ipv6)):
                for options in ((), ("-I",), ("-T", "-p", str(plan.cluster(target).http_port))):
                    with self.subTest(source=source, target=target, address=address, options=options):
                        hops = self.trace(source, address, *options)
                        self.assertIn(own, hops, self.drops())
                        self.assertEqual(hops[-1], address)
                        self.assertLess(hops.index(own), len(hops) - 1)
        self.assertEqual(self.checksum_errors(), {})


class Segments(FleetCase):
    """Neither end of a TCP connection knows of the tunnel."""

    def test_full_segments_fit_the_tunnel_both_ways_without_an_icmp_error(self):
        for source, target in PAIRS:
            client = pod_routes(self, source)
            pod_routes(self, target, "web-0")
            server = pod(f"{target}-web-0")
            for address in (server.ipv4, server.ipv6):
                for options in ((), ("-R",)):
                    with self.subTest(source=source, address=address, options=options):
                        before = self.drops()
                        sent = iperf(client, self.fleet.pod(target, "web-0"), address, "-n", "20M", *options)
                        self.assertGreater(sent["bytes"], 10 << 20)
                        self.assertEqual(self.drops().get("oversize", 0), before.get("oversize", 0))
        self.assertEqual(self.checksum_errors(), {})


if __name__ == "__main__":
    unittest.main()
