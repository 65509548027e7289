"""Settled connections of a cluster with aliases move from one of its two gateways to the other.

When that one is drained and ended, and when it dies: pods keep the addresses that the other ends know, and notice
nothing but the pause.
"""

import time
import unittest

import alias_gateways_test
import drain_test
from fleet_case import plan, pod, wait_until
from fleet.numbered import AFTER, SETTLED


class Moves(drain_test.Draining, alias_gateways_test.Overlapping):
    """East-1 goes. Node3 has routes to both gateways, node2 has east-2."""

    clusters = alias_gateways_test.CLUSTERS

    @classmethod
    def serve(cls, name, *behind):
        vips = cls.fleet.allocate(f"shop/{name}")
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster, name, ports=drain_test.PORTS,
                                        backends=[each for each in behind if each.cluster == cluster.name])
        cls.fleet.wait_backends(f"shop/{name}", [address for each in behind for address in each.fleet_addresses])
        return vips

    @classmethod
    def prepare(cls):
        cls.vips = cls.serve("here", pod("east-web-2"))
        cls.away = cls.serve("away", pod("south-web-1"))

    def setUp(self):
        self.route_node3("node1", "node2")
        super().setUp()

    def into_east_1(self):
        """What node3 sends takes the gateway that is about to go, so that its connections are there."""
        self.route_node3("node1")
        self.addCleanup(self.route_node3, "node1", "node2")

    def direct(self):
        return (("south-client", "east-web-1", pod("east-web-1").fleet_addresses[0]),
                ("west-client", "east-web-2", pod("east-web-2").fleet_addresses[1]),
                ("east-client3", "south-web-1", pod("south-web-1").fleet_addresses[0]))

    def by_service(self):
        return (("west-client", "east-web-2", self.vips[1]), ("east-client3", "south-web-1", self.away[0]))

    def drain_and_end(self, *ends):
        self.into_east_1()
        pairs = self.traffic(*ends)
        self.drain_and_wait()
        time.sleep(AFTER)  # each flow moves at its next packet; its answers may take the other way only then
        self.route_node3("node2")
        time.sleep(AFTER)
        self.gateway.kill()
        time.sleep(AFTER)
        self.assert_complete(pairs)
        self.assertNotIn("alias_mismatch", self.drops())

    def test_direct_ones_lose_nothing_when_it_is_drained(self):
        self.drain_and_end(*self.direct())

    def test_those_by_services_lose_nothing_when_it_is_drained(self):
        self.drain_and_end(*self.by_service())

    def kill(self, *ends):
        """Without a warning: what was on its way is lost, the connections are not."""
        self.into_east_1()
        pairs = self.traffic(*ends, kinds=SETTLED)
        self.gateway.kill()
        self.route_node3("node2")
        wait_until(lambda: not self.senders(), 30, what="peers send elsewhere")
        for pair in pairs:
            before = pair.arrived()
            wait_until(lambda of=pair, at=before: of.arrived() > at + 100, 30, what="TCP goes on")
        for pair in pairs:
            report = pair.stop()
            self.assertEqual((report["tcp"]["lost"], report["tcp"]["doubled"]), ([], []), (report, self.drops()))
            self.assertLess(report["udp"]["last_lost"], report["udp"]["sent"] - 100, (report, self.drops()))
            self.assertEqual(report["udp"]["doubled"], [], report)
        self.assertNotIn("alias_mismatch", self.drops())

    def test_direct_ones_go_on_when_it_dies(self):
        self.kill(*self.direct())

    def test_those_by_services_go_on_when_it_dies(self):
        self.kill(*self.by_service())


if __name__ == "__main__":
    unittest.main()
