"""Two clusters whose pods have the same addresses, all of them: each calls the other's by their aliases."""

import unittest

from fleet_case import FleetCase, addresses, backends, plan, pod, url
from fleet.numbered import Numbered
from fleet.traffic import curl, ping

PAIRS = (("west", "south"), ("south", "west"), ("east", "south"), ("south", "north"), ("north", "west"))


class Overlapping(Numbered, FleetCase):
    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(setattr, plan, "CLUSTERS", plan.CLUSTERS)
        plan.CLUSTERS = plan.OVERLAPPING
        return super().make_fleet()

    def client(self, cluster):
        return self.fleet.pod(cluster, "client")

    def test_pods_with_equal_addresses_reach_each_other(self):
        self.assertEqual(pod("west-web-0").ipv4, pod("south-web-0").ipv4)
        self.assertEqual(pod("west-client").ipv6, pod("south-client").ipv6)
        for source, target in PAIRS:
            server = pod(f"{target}-web-0")
            for address, seen in zip(server.seen_from(source), pod(f"{source}-client").seen_from(target)):
                self.assertTrue(ping(self.client(source), address), (source, target, address, self.drops()))
                status, body = curl(self.client(source), url(address, plan.cluster(target).http_port))
                self.assertEqual((status, body.split()), (0, [server.full_name, seen]), (source, target))
        self.assertEqual(self.checksum_errors(), {})


if __name__ == "__main__":
    unittest.main()
