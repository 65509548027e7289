"""Protocols other than TCP, UDP and ICMP in the fleet, by policy, identity and service.

Both ends are raw sockets (raw_peer.py): no kernel that this runs on needs to know SCTP.
"""

import os
import unittest

from fleet_case import FleetCase, addresses, plan, pod, url, wait_until
from fleet.policies import cilium_policy, peers, policy_file, port
from fleet.traffic import curl

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = ["/usr/bin/python3", f"{HERE}/raw_peer.py"]
GRE, ESP, AH, SCTP, UNKNOWN = 47, 50, 51, 132, 253
ALL = (GRE, ESP, AH, SCTP, UNKNOWN)
PORT, OTHER_PORT, SERVICE_PORT = 9000, 9001, 2905
SERVERS = ("east-web-0", "west-web-0", "north-web-0")


class Peers(FleetCase):
    def netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    def ask(self, client, address, protocol, port_number=PORT):
        source = pod(client).ipv6 if ":" in address else pod(client).ipv4
        return self.netns(client).run([*PEER, "ask", str(protocol), source, address, str(port_number)]).stdout.strip()

    def connections(self, gateway, protocol):
        rows = self.fleet.gateways[gateway].query("connections")["connections"]
        return [row for row in rows if row["protocol"] == protocol]


class Protocols(Peers):
    @classmethod
    def prepare(cls):
        for name in SERVERS:
            server = pod(name)
            for protocol in ALL:
                daemon = cls.fleet.pod(*name.split("-", 1)).start(
                    f"peer-{protocol}", [*PEER, "answer", str(protocol), server.ipv4, server.ipv6],
                    f"{cls.fleet.folder}/log/{name}-{protocol}")
                cls.addClassCleanup(daemon.stop)

    def tearDown(self):
        self.assertEqual(self.checksum_errors(), {})

    def test_each_protocol_reaches_pods_of_other_clusters_and_comes_back_in_both_families(self):
        for client, server in (("east-client", "west-web-0"), ("west-client", "north-web-0"),
                               ("north-client", "east-web-0"), ("east-client3", "north-web-0")):
            for address in (pod(server).ipv4, pod(server).ipv6):
                for protocol in ALL:
                    with self.subTest(client=client, address=address, protocol=protocol):
                        wait_until(lambda c=client, a=address, p=protocol: self.ask(c, a, p) == "answered",
                                   what="an answer")
        for name in ("gre", "esp", "ah", "253"):
            rows = self.connections("east-1", name) + self.connections("east-2", name)
            self.assertTrue(rows, name)
            self.assertEqual({row["client_port"] for row in rows} | {row["frontend_port"] for row in rows}, {0}, name)

    def policy(self, rules):
        self.fleet.hub.write(policy_file("west", "protocols"), [cilium_policy("protocols", "web", rules)])
        self.addCleanup(self.fleet.hub.remove, policy_file("west", "protocols"))
        denied = url(pod("west-web-0").ipv4, plan.cluster("west").http_port)
        wait_until(lambda: curl(self.netns("north-client"), denied, timeout=1)[0] != 0, what="the policy is in force")

    def test_policy_by_identity_allows_them_for_those_it_names(self):
        self.policy(f"  ingress: [{{fromEndpoints: {peers('east', 'client')}}}]\n")
        for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
            for protocol in ALL:
                with self.subTest(address=address, protocol=protocol):
                    self.assertEqual(self.ask("east-client", address, protocol), "answered")
                    before = self.drops("west-1").get("policy_denied", 0)
                    self.assertEqual(self.ask("north-client", address, protocol), "no answer")
                    self.assertGreater(self.drops("west-1").get("policy_denied", 0), before)

    def test_ports_of_policy_are_those_of_sctp_and_of_nothing_without_ports(self):
        self.policy(f"  ingress: [{{fromEndpoints: {peers('east', 'client')}, toPorts: {port(PORT, 'SCTP')}}}]\n")
        for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
            self.assertEqual(self.ask("east-client", address, SCTP), "answered", address)
            self.assertEqual(self.ask("east-client", address, SCTP, OTHER_PORT), "no answer", address)
            self.assertEqual(self.ask("north-client", address, SCTP), "no answer", address)
            for protocol in (GRE, ESP, AH, UNKNOWN):
                self.assertEqual(self.ask("east-client", address, protocol), "no answer", (address, protocol))

    def test_a_service_has_the_ports_of_sctp_that_it_names_and_no_protocol_without_ports(self):
        ports = (("assoc", "SCTP", SERVICE_PORT, PORT),)
        vips = self.fleet.allocate("shop/assoc")
        for cluster in plan.CLUSTERS:
            servers = [pod(name) for name in SERVERS if name.startswith(cluster.name)]
            self.fleet.hub.write_service(cluster, "assoc", servers, ports=ports)
            self.addCleanup(self.fleet.hub.remove, f"clusters/{cluster.name}/shop-assoc.yaml")
        self.fleet.wait_backends("shop/assoc", addresses([pod(name) for name in SERVERS]))
        for vip in vips:
            for client in ("east-client", "west-client", "north-client"):
                wait_until(lambda c=client, v=vip: self.ask(c, v, SCTP, SERVICE_PORT) == "answered",
                           what=f"an answer of {vip} for {client}")
            for protocol, number in ((SCTP, PORT), (GRE, 0), (ESP, 0), (UNKNOWN, 0)):
                before = self.drops("east-1").get("no_frontend", 0)
                self.assertEqual(self.ask("east-client", vip, protocol, number), "no answer", (vip, protocol))
                self.assertEqual(self.drops("east-1").get("no_frontend", 0) - before, 1, (vip, protocol))


if __name__ == "__main__":
    unittest.main()
