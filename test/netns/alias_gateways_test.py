"""A cluster with aliases and two gateways: replies keep their addresses through either of them."""

import collections
import unittest

from alias_test import Overlapping
from fleet_case import addresses, backends, plan, pod, url, wait_until
from fleet.traffic import curl, curl_many, ping

# East, too, has the addresses of west and south, with a gateway on each of two nodes.
CLUSTERS = tuple(plan.replace(each, net=2, alias=101, gateways=tuple(
    plan.replace(gateway, translation_ipv4=f"10.2.255.{number}", translation_ipv6=f"fd00:2::ff:{number}")
    for number, gateway in enumerate(each.gateways, 1))) if each.name == "east" else each for each in plan.OVERLAPPING)
EAST = ("east-1", "east-2")
CLIENTS = ("client", "client3")  # on node1, with a gateway, and on node3, which uses both


class TwoGateways(Overlapping):
    clusters = CLUSTERS

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global(plan.CLUSTERS)

    def packets(self):
        """What each of east's gateways has taken from tunnels."""
        return {name: self.fleet.gateways[name].status()["packets"]["decapsulated"] for name in EAST
                if self.fleet.gateways[name].alive}

    def ask_each_way(self, count=40):
        """Many connections each way, from every client of east and to every pod of it, see nothing but aliases."""
        south = pod("south-web-0")
        for name in CLIENTS:
            for index, address in enumerate(south.fleet_addresses):
                for _ in range(count // 4):
                    status, body = curl(self.fleet.pod("east", name), url(address, plan.cluster("south").http_port))
                    seen = pod(f"east-{name}").fleet_addresses[index]
                    self.assertEqual((status, body.split()), (0, [south.full_name, seen]), (name, self.drops()))
        for target in backends("east"):
            for index, address in enumerate(target.fleet_addresses):
                port = plan.cluster("east").http_port
                seen = pod("south-client").fleet_addresses[index]
                for _ in range(count // 4):
                    status, body = curl(self.client("south"), url(address, port))
                    self.assertEqual((status, body.split()), (0, [target.full_name, seen]), (address, self.drops()))

    def test_connections_through_either_gateway_keep_their_addresses(self):
        before = self.packets()
        self.ask_each_way()
        for name in EAST:
            self.assertGreater(self.packets()[name], before[name], f"nothing came by {name}")
        self.assertNotIn("alias_mismatch", self.drops())
        self.assertEqual(self.checksum_errors(), {})

    def test_a_service_is_answered_through_either_gateway(self):
        for name in CLIENTS:
            for vip in self.vips:
                answers = curl_many(self.fleet.pod("east", name), url(vip, 80), 80)
                self.assertEqual(answers["-"], 0, (name, vip, self.drops()))
                self.assertEqual({entry.split("-")[0] for entry in answers if answers[entry]},
                                 {"east", "west", "north", "south"}, (name, vip))
        answers = curl_many(self.client("south"), url(self.vips[0], 80), 80)
        self.assertEqual(answers["-"], 0, self.drops())

    def test_pings_pass_through_either_gateway(self):
        for name in CLIENTS:
            for address in pod("west-web-0").fleet_addresses:
                self.assertTrue(ping(self.fleet.pod("east", name), address), (name, address))
        for target in backends("east"):
            for address in target.fleet_addresses:
                self.assertTrue(ping(self.client("west"), address), address)

    def test_what_a_gateway_leaves_behind_the_other_takes_up(self):
        """While east-1 is dead: connections to and from pods whose nodes do not use it alone."""
        gateway = self.fleet.gateways["east-1"]
        gateway.kill()
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.wait_peers, 60)
        self.addCleanup(gateway.start)
        for name in ("south-1", "west-1"):
            wait_until(lambda at=name: "east-1" not in self.fleet.gateways[at].live_peers(), 30,
                       what=f"{name} detects the failure")
        target = pod("east-web-1")  # on node2, with the remaining gateway
        seen = collections.Counter()
        for index, address in enumerate(target.fleet_addresses):
            for _ in range(20):
                status, body = curl(self.client("south"), url(address, plan.cluster("east").http_port))
                seen[(status, *body.split(), index)] += 1
        client = pod("south-client").fleet_addresses
        self.assertEqual(seen, {(0, target.full_name, client[0], 0): 20, (0, target.full_name, client[1], 1): 20})
        before = self.packets()["east-2"]
        for address in pod("south-web-0").fleet_addresses:
            self.assertTrue(ping(self.fleet.pod("east", "web-1"), address), address)
        self.assertGreater(self.packets()["east-2"], before)


if __name__ == "__main__":
    unittest.main()
