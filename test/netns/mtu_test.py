"""Path MTU and ICMP: traces, segment sizes, and paths that carry less than their ends believe."""

import concurrent.futures
import re
import subprocess
import unittest

import devices_test
from fleet_case import FleetCase, plan, pod, wait_until
from fleet import hub
from fleet.traffic import iperf, ping

PAIRS = (("east", "west"), ("north", "west"), ("west", "north"))
PYTHON = "/usr/bin/python3"
# Sends a datagram without DF, whatever its length, and prints who answers it with what was sent.
DATAGRAM = """
import socket, sys
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
if s.family == socket.AF_INET:
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
s.settimeout(3)
s.connect((address, port))
data = bytes(i * 7 % 251 for i in range(size))
s.send(data)
name, _, echoed = s.recv(65535).partition(b' ')
print(name.decode() if echoed == data else 'other data')
"""
# Sends datagrams without DF, a hundred a second, until its input ends; prints how many there were, and how many were
# answered, from one that was on: who answers must learn what the path carries, as its answers have DF.
DATAGRAMS = """
import select, socket, sys, threading, time
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 0)
s.connect((address, port))
s.settimeout(0.5)
while True:
    s.send(b'.' * size)
    try:
        s.recv(65535)
        break
    except TimeoutError:
        pass
s.settimeout(2)
answered = set()
def read():
    try:
        while True:
            answered.add(s.recv(65535).partition(b' ')[2])
    except TimeoutError:
        pass
reader = threading.Thread(target=read)
reader.start()
sent = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    s.send(b'%d' % sent + b'.' * (size - len(b'%d' % sent)))
    sent += 1
reader.join()
print(sent, len(answered))
"""


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


class Paths:
    """What the gateways know of the underlay's paths, all of which pass one router."""

    def rows(self):
        """(gateway, peer, inner MTU, source) of every pair of gateways."""
        return [(name, row["name"], row["inner_mtu"], row["path_mtu_source"])
                for name, gateway in self.fleet.gateways.items()
                for row in gateway.status()["peers"] if row["gateway"] and row["health"]]

    def wait_known(self, inner, source, site=""):
        """Until every gateway knows that every path, or each from and to one site, carries so much."""
        def known():
            return all(row[2:] == (inner, source) for row in self.rows()
                       if not site or site in (row[0].split("-")[0], row[1].split("-")[0]))
        try:
            wait_until(known, 60, 0.3, "path MTUs")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.rows()}, not {inner} by {source}") from error

    def lose(self, longer_than, site=None, odd_flows=False):
        """The router silently loses tunnel packets that are longer, all or from and to one site, of all flows or of
        every second one, as one of two equal ways would; None: no more."""
        router = self.fleet.topology.namespaces["router"]
        router.run(["nft", "delete table inet hole"], check=False)
        if longer_than:
            # Of tunnels only: what nodes of one site send each other passes the router's bridge, and this hook too.
            which = f"udp dport {plan.TUNNEL_PORTS[plan.encapsulation]} meta length gt {longer_than}"
            which += " udp sport & 1 == 1" if odd_flows else ""
            links = (f'iifname "{site}"', f'oifname "{site}"') if site else ("",)
            router.run(["nft", "-f", "-"], stdin="table inet hole {\n chain forward {\n"
                       "  type filter hook forward priority 0;\n" +
                       "".join(f"  {link} {which} counter drop;\n" for link in links) + " }\n}\n")

    def transfer(self, source, target, *options):
        """A transfer of iperf3 between pods that know nothing of the path: bytes received."""
        client, server = pod_routes(self, source), self.fleet.pod(target, "web-0")
        pod_routes(self, target, "web-0")
        entry = pod(f"{target}-web-0")
        return [iperf(client, server, address, "-n", "20M", *options)["bytes"] for address in (entry.ipv4, entry.ipv6)]


class ReportedPaths(Paths, FleetCase):
    """No check is due in the time of a test: routers say what the paths carry."""
    settings = {"health": "{path_mtu_interval: 30m}"}

    def narrow(self, cluster, mtu):
        """The router's link to the cluster's site has that MTU, and the router says so."""
        self.fleet.topology.namespaces["router"].ip(f"link set {cluster} mtu {mtu}")

    def test_what_a_router_reports_is_learned_and_told_to_the_pods(self):
        self.addCleanup(self.narrow, "west", 1500)
        self.wait_known(1450, "device")
        self.narrow("west", 1380)
        client, target = pod_routes(self, "north"), pod("west-web-0")
        ping(client, target.ipv4, size=1422, dont_fragment=True)  # finds the link, and is lost
        gateway = self.fleet.gateways["north-1"]

        def known():
            row = next(row for row in gateway.status()["peers"] if row["name"] == "west-1")
            return (row["inner_mtu"], row["path_mtu_source"]) == (1330, "probes")
        wait_until(known, 30, what="the path's MTU")
        self.assertGreater(gateway.status()["packets"]["path_mtu_claims"], 0)
        row = next(row for row in gateway.status()["peers"] if row["name"] == "west-1")
        self.assertFalse(row["path_black_hole"], "a router has spoken")
        told = client.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1422", target.ipv4],
                          check=False).stdout
        self.assertRegex(told, r"(?i)frag needed.*mtu = 1330")
        told = client.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1402", target.ipv6],
                          check=False).stdout
        self.assertRegex(told, r"(?i)packet too big.*mtu=1330")
        self.assertTrue(ping(client, target.ipv4, size=1330 - 28, dont_fragment=True))
        self.assertGreater(min(self.transfer("north", "west")), 10 << 20)


class HoledPaths(Paths, FleetCase):
    """Black holes before gateways with one device and with two."""
    settings = {"health": "{path_mtu_interval: 1s}"}

    def test_transfers_pass_behind_a_silent_black_hole(self):
        self.addCleanup(self.lose, None)
        for outer in (1400, 1280):
            self.lose(outer)
            self.wait_known(outer - 50, "probes")
            for source, target in PAIRS:
                for options in ((), ("-R",)):
                    with self.subTest(outer=outer, source=source, target=target, options=options):
                        self.assertGreater(min(self.transfer(source, target, *options)), 10 << 20)

    def holes(self, *names):
        """What gateways, all or these, list as black holes: (gateway, peer, text)."""
        return [(name, problem["where"], problem["what"]) for name, gateway in self.fleet.gateways.items()
                if not names or name in names
                for problem in gateway.status()["problems"] if "no router has said so" in problem["what"]]

    def test_a_lasting_black_hole_is_a_problem_until_it_is_unfound(self):
        self.addCleanup(self.lose, None)
        self.lose(None)
        wait_until(lambda: not self.holes(), 60, what="no black hole")
        self.lose(1400, "west")
        wait_until(lambda: {"peer west-1"} == {where for _, where, _ in self.holes("north-1")}, 60,
                   what="a black hole on the way to west")
        (_, _, what), = self.holes("north-1")
        self.assertIn("the path carries underlay packets of 1400 bytes, and loses those of 1401 and more", what)
        peer = next(row for row in self.fleet.gateways["north-1"].status()["peers"] if row["name"] == "west-1")
        self.assertEqual((peer["path_mtu"], peer["path_black_hole"]), (1400, True))
        self.lose(None)
        wait_until(lambda: not self.holes(), 60, what="no black hole")
        self.wait_known(1450, "device")

    def test_a_black_hole_on_one_of_two_equal_ways_is_found_and_unfound(self):
        self.addCleanup(self.lose, None)
        pod_routes(self, "north", mtu=1450)
        pod_routes(self, "west", "web-0", mtu=1450)
        self.lose(1400, odd_flows=True)
        self.wait_known(1350, "probes")
        server = pod("west-web-0")
        wait_until(lambda: self.answers("north", server.ipv4, 1400) == server.full_name, what="its kernel has learned")
        for _ in range(8):
            self.assertEqual(self.answers("north", server.ipv4, 1400), server.full_name)
        self.lose(None)
        self.wait_known(1450, "device")

    def counted(self, cluster, name):
        """A counter of packets, summed over the cluster's gateways."""
        return sum(gateway.status()["packets"][name] for gateway in self.fleet.live()
                   if gateway.name.split("-")[0] == cluster)

    def answers(self, source, address, size):
        return self.fleet.pod(source, "client").run(
            [PYTHON, "-c", DATAGRAM, address, str(hub.UDP_ECHO_PORT), str(size)], check=False).stdout.strip()

    def test_datagrams_without_df_are_fragmented_both_ways(self):
        self.addCleanup(self.lose, None)
        self.lose(1280)
        self.wait_known(1230, "probes")
        for source, target in PAIRS:
            pod_routes(self, source, mtu=1450)  # new ones, which know nothing of the path
            pod_routes(self, target, "web-0", mtu=1450)
            server = pod(f"{target}-web-0")
            before = [self.counted(cluster, "fragmented") for cluster in (source, target)]
            for size in (1450, 4096, 20000):
                with self.subTest(source=source, target=target, size=size):
                    self.assertEqual(self.answers(source, server.ipv4, size), server.full_name)
            for cluster, count in zip((source, target), before):
                self.assertGreaterEqual(self.counted(cluster, "fragmented") - count, 1 + 2 + 13, cluster)
        self.assertEqual(self.checksum_errors(), {})

    def test_a_successor_knows_what_the_paths_carry(self):
        self.addCleanup(self.lose, None)
        self.lose(1400)
        self.wait_known(1350, "probes")
        client, server = pod_routes(self, "north", mtu=1450), pod("west-web-0")
        with subprocess.Popen(client.enter([PYTHON, "-c", DATAGRAMS, server.ipv4, str(hub.UDP_ECHO_PORT), "1400"]),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
            before = self.counted("north", "fragmented")
            wait_until(lambda: self.counted("north", "fragmented") - before > 100, what="long datagrams")
            gateway = self.fleet.gateways["north-1"]
            predecessor = gateway.daemon
            gateway.start(wait=False)
            wait_until(lambda: f"handed over to process {gateway.daemon.pid}" in gateway.daemon.log_tail(400), 30,
                       what="taken over")
            predecessor.stop(timeout=20)
            gateway.wait_ready()
            wait_until(lambda: self.counted("north", "fragmented") > 200, what="long datagrams of the successor")
            sent, answered = map(int, sender.communicate("\n", timeout=10)[0].split())
        self.assertEqual(answered, sent, self.fleet.drops())

    def test_ipv6_packets_of_1280_bytes_pass_a_path_for_less(self):
        """Their senders learn of 1,280 bytes, and no less, from the first packet that is longer, which is lost."""
        self.addCleanup(self.lose, None)
        self.lose(1280)
        self.wait_known(1230, "probes")
        for source, target in PAIRS:
            pod_routes(self, source, mtu=1450)  # new ones, which know nothing of the path
            pod_routes(self, target, "web-0", mtu=1450)
            server = pod(f"{target}-web-0")
            before = [self.counted(cluster, "tunnels_fragmented") for cluster in (source, target)]
            assembled = self.counted(target, "assembled")
            self.assertTrue(ping(self.fleet.pod(source, "client"), server.ipv6, size=1280 - 48, dont_fragment=True))
            wait_until(lambda source=source, server=server: self.answers(source, server.ipv6, 4096) == server.full_name,
                       what=f"{server.full_name} answers {source}")
            for cluster, count in zip((source, target), before):
                self.assertGreaterEqual(self.counted(cluster, "tunnels_fragmented") - count, 1 + 3, cluster)
            self.assertGreaterEqual(self.counted(target, "assembled") - assembled, 1 + 3)
        self.assertEqual(self.checksum_errors(), {})

    def handed_down(self, name):
        """Packets that the gateway's XDP programs have forwarded."""
        return sum(device["forwarded_in_kernel"]["packets"] for device in self.fleet.gateways[name].status()["devices"])

    def test_a_transfer_in_xdp_goes_on_when_its_path_shrinks(self):
        """The transfer takes some ten seconds, of which the path is whole until it is handed down. Its receiver has not
        counted the last of it when its sender ends."""
        self.addCleanup(self.lose, None)
        for source, target, outer in (("north", "west", 1400), ("west", "north", 1280), ("east", "west", 1400)):
            client, entry = pod_routes(self, source), pod(f"{target}-web-0")
            server = pod_routes(self, target, "web-0")
            for address in (entry.ipv4, entry.ipv6):
                with self.subTest(source=source, target=target, address=address), \
                        concurrent.futures.ThreadPoolExecutor() as pool:
                    self.lose(None)
                    self.wait_known(1450, "device")
                    names = [name for name in self.fleet.gateways if name.split("-")[0] in (source, target)]
                    before = sum(map(self.handed_down, names))
                    run = pool.submit(iperf, client, server, address, "-n", "30M", "-b", "24M", timeout=90)
                    wait_until(lambda: sum(map(self.handed_down, names)) - before > 2000, what="packets in XDP")
                    self.lose(outer)
                    self.assertFalse(run.done())
                    self.assertGreater(run.result()["bytes"], 25 << 20)


class JumboPaths(devices_test.JumboLinks, Paths, FleetCase):
    """Links of 9,000 bytes, of which the engine takes what its buffers hold, with a black hole in the middle."""
    settings = {"health": "{path_mtu_interval: 1s}"}

    def check_transfers(self, *pairs):
        for source, target in pairs:
            for options in ((), ("-R",)):
                with self.subTest(source=source, target=target, options=options):
                    self.assertGreater(min(self.transfer(source, target, *options)), 10 << 20)

    def test_transfers_pass_whatever_the_path_carries(self):
        self.addCleanup(self.lose, None)
        for outer in (3000, 1500, 1280):
            self.lose(outer)
            self.wait_known(outer - 50, "probes")
            self.check_transfers(("east", "west"), ("west", "north"))
        client, target = pod_routes(self, "east"), pod("west-web-0").ipv4
        self.assertIsNone(ping(client, target, size=1231 - 28, dont_fragment=True))
        self.assertTrue(ping(client, target, size=1230 - 28, dont_fragment=True))
        self.lose(None)
        wait_until(lambda: all(row[3] == "device" for row in self.rows()), 60, what="the device's MTU")
        self.check_transfers(("north", "west"))

    def test_each_path_has_an_mtu_of_its_own(self):
        self.addCleanup(self.lose, None)
        self.lose(1500, "west")
        self.wait_known(1450, "probes", "west")
        others = [row for row in self.rows() if "west-1" not in row[:2]]
        self.assertEqual({row[3] for row in others}, {"device"}, others)
        self.assertGreater(min(row[2] for row in others), 3000)
        self.check_transfers(("east", "west"), ("east", "north"), ("north", "west"))
        client = pod_routes(self, "east")
        self.assertTrue(ping(client, pod("north-web-0").ipv4, size=3400, dont_fragment=True))
        self.assertIsNone(ping(client, pod("west-web-0").ipv4, size=3400, dont_fragment=True))


if __name__ == "__main__":
    unittest.main()
