"""Fragments in the fleet: datagrams longer than the MTU, to pods and services, and tunnel packets that the underlay
fragments."""

import os
import unittest

from fleet_case import FleetCase, plan, pod, url, wait_until
from fleet import hub
from fleet.policies import cilium_policy, peers, policy_file, port
from fleet.topology import POD_ROUTE_MTU
from fleet.traffic import curl, ping

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
ECHO = 7  # the service's port
# What QUIC, DNS with EDNS and NFS send, and nearly the longest there is.
SIZES = (1473, 2500, 4096, 8192, 32768, 60000)
ANSWERS = """
import socket, sys
address, port, sizes = sys.argv[1], int(sys.argv[2]), map(int, sys.argv[3:])
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((address, port))
for size in (1, *sizes):
    data = bytes(i * 7 % 251 for i in range(size))
    s.send(data)
    name, _, echoed = s.recv(65535).partition(b' ')
    print(name.decode() if echoed == data else 'other data')
"""
# Asks for TXT records with EDNS over UDP; prints how many bytes of text the answer has.
DNS = """
import socket, struct, sys
server, name, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ':' in server else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
question = b''.join(bytes([len(part)]) + part.encode() for part in name.split('.')) + b'\\0' + struct.pack('!HH', 16, 1)
s.sendto(struct.pack('!HHHHHH', 1, 0x100, 1, 0, 0, 1) + question + struct.pack('!BHHIH', 0, 41, size, 0, 0),
         (server, 53))
answer = s.recv(65535)
flags = struct.unpack('!H', answer[2:4])[0]
print('truncated' if flags & 0x200 else answer.count(b'x'))
"""


class Fragments(FleetCase):
    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()

    def tearDown(self):
        self.assertEqual(self.checksum_errors(), {})

    def netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    def counted(self, name):
        """A counter of packets, summed over all gateways."""
        return sum(gateway.status()["packets"][name] for gateway in self.fleet.live())

    def answers(self, client, address, port_number, sizes=SIZES):
        """Who answers datagrams of these sizes, sent by one socket, with what was sent."""
        done = self.netns(client).run([PYTHON, "-c", ANSWERS, address, str(port_number), *map(str, sizes)],
                                      check=False)
        return done.stdout.split() if done.returncode == 0 else done.stderr

    def fragmented(self, client, address, how, size=4096, port_number=hub.UDP_ECHO_PORT):
        source = pod(client).ipv6 if ":" in address else pod(client).ipv4
        return self.netns(client).run([PYTHON, f"{HERE}/fragmented.py", source, address, str(port_number), str(size),
                                       how]).stdout.strip()

    def test_long_datagrams_reach_the_pods_of_other_clusters_and_come_back(self):
        before = self.counted("fragments")
        for client, server in (("east-client", "west-web-0"), ("west-client", "north-web-1"),
                               ("north-client", "east-web-0"), ("east-client3", "north-web-0")):
            for address in (pod(server).ipv4, pod(server).ipv6):
                with self.subTest(client=client, server=server, address=address):
                    self.assertEqual(self.answers(client, address, hub.UDP_ECHO_PORT), [server] * (1 + len(SIZES)))
        least = sum(size // POD_ROUTE_MTU for size in SIZES)
        self.assertGreater(self.counted("fragments") - before, 4 * 2 * 2 * 2 * least,
                           "two gateways on the way, both ways")

    def test_all_of_a_connection_to_a_service_goes_to_one_backend_of_any_cluster(self):
        seen = set()
        for vip in self.vips:
            for client in ("east-client", "west-client", "north-client"):
                for _ in range(6):
                    names = self.answers(client, vip, ECHO, (2500, 9000))
                    self.assertIsInstance(names, list, names)
                    self.assertEqual(len(set(names)), 1, names)
                    seen.add((":" in vip, names[0].partition("-")[0]))
        self.assertEqual(len(seen), 6, "backends of every cluster, in both families")

    def test_large_pings(self):
        for client, server in (("east-client", "west-web-0"), ("north-client", "east-web-0")):
            for address in (pod(server).ipv4, pod(server).ipv6):
                for size in (2000, 9000, 30000):
                    self.assertTrue(ping(self.netns(client), address, size=size), (client, address, size))

    def test_answers_of_dns_with_edns(self):
        server = pod("west-web-1")
        records = [f"--txt-record=large.test,{'x' * 250}" for _ in range(14)]
        dns = self.netns("west-web-1").start(
            "dns", ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                    "--pid-file=", "--edns-packet-max=4096", "--user=root", *records],
            f"{self.fleet.folder}/log/large-dns")
        self.addCleanup(dns.stop)
        for address in (server.ipv4, server.ipv6):
            def ask(address=address):
                return self.netns("east-client").run([PYTHON, "-c", DNS, address, "large.test", "4096"],
                                                     check=False).stdout.strip()
            wait_until(lambda ask=ask: ask() == str(14 * 250), what=f"{address} answers with 3,500 bytes")

    def test_fragments_in_any_order(self):
        for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
            kept = self.counted("fragments_kept")
            for how in ("in-order", "reversed"):
                self.assertEqual(self.fragmented("east-client", address, how), "echoed", (address, how))
            self.assertGreaterEqual(self.counted("fragments_kept") - kept, 3, "tails wait for the first one")
        for vip in self.vips:
            self.assertEqual(self.fragmented("east-client", vip, "reversed", port_number=ECHO), "echoed", vip)

    def test_fragments_that_overlap_or_repeat_or_never_come(self):
        for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
            for how, answer, reason, count in (("twice", "echoed", "fragment_overlap", 3),
                                               ("overlapping", "no answer", "fragment_overlap", 3),
                                               ("tail", "no answer", "fragment_timeout", 3)):
                with self.subTest(address=address, how=how):
                    before = self.drops("east-1").get(reason, 0)
                    self.assertEqual(self.fragmented("east-client", address, how), answer)
                    wait_until(lambda before=before, reason=reason, count=count:
                               self.drops("east-1").get(reason, 0) - before >= count, what=f"drops as {reason}")
            self.assertEqual(self.fragmented("east-client", address, "in-order"), "echoed")

    def test_a_policy_with_ports_binds_every_fragment(self):
        self.fleet.hub.write(policy_file("east", "echo"), [cilium_policy(
            "echo", "web", f"  ingress: [{{fromEndpoints: {peers('west', 'client')}, "
            f"toPorts: {port(hub.UDP_ECHO_PORT, 'UDP')}}}]\n")])
        self.addCleanup(self.fleet.hub.remove, policy_file("east", "echo"))
        server = pod("east-web-0")
        denied = url(server.ipv4, plan.cluster("east").http_port)
        wait_until(lambda: curl(self.netns("west-client"), denied, timeout=1)[0] != 0, what="the policy is in force")
        for address in (server.ipv4, server.ipv6):
            for how in ("in-order", "reversed"):
                with self.subTest(address=address, how=how):
                    self.assertEqual(self.fragmented("west-client", address, how), "echoed")
                    before = self.drops("east-1", "east-2").get("policy_denied", 0)
                    self.assertEqual(self.fragmented("west-client", address, how, port_number=9), "no answer")
                    # Four fragments; the client whose requests showed the policy may still repeat a SYN.
                    self.assertGreaterEqual(self.drops("east-1", "east-2").get("policy_denied", 0) - before, 4)


class FragmentedTunnels(FleetCase):
    """The router's links to west carry 1,300 bytes, and nobody is told: the router clears DF and fragments."""

    @classmethod
    def prepare(cls):
        cls.make_global()

    def test_tunnel_packets_that_the_underlay_fragments_are_put_together(self):
        router = self.fleet.topology.namespaces["router"]
        router.run(["nft", "-f", "-"], stdin="table ip cleared {\n chain prerouting {\n"
                   "  type filter hook prerouting priority raw;\n  udp dport 8472 ip frag-off set 0;\n }\n}\n")
        self.addCleanup(router.run, ["nft", "delete table ip cleared"])
        for device in ("west", "east"):
            router.ip(f"link set {device} mtu 1300")
            self.addCleanup(router.ip, f"link set {device} mtu 1500")
        gateways = [self.fleet.gateways[name] for name in ("east-1", "west-1")]
        before = [gateway.status()["packets"]["assembled"] for gateway in gateways]
        client, server = self.fleet.pod("east", "client"), pod("west-web-0")
        body = os.path.join(self.fleet.folder, "body")
        with open(body, "wb") as file:
            file.write(bytes(1_000_000))
        for address in (server.ipv4, server.ipv6):
            self.assertTrue(ping(client, address, size=1400, dont_fragment=True), address)
            self.assertTrue(ping(client, address, size=8000), address)
            status, text = curl(client, url(address, plan.cluster("west").http_port), "--data-binary", f"@{body}",
                                "-o", "/dev/null", "-w", "%{size_download}", timeout=60)
            self.assertEqual((status, int(text)), (0, os.path.getsize(body)))
        for gateway, count in zip(gateways, before):
            self.assertGreater(gateway.status()["packets"]["assembled"] - count, 20, gateway.name)
        self.assertEqual(self.checksum_errors(), {})


if __name__ == "__main__":
    unittest.main()
