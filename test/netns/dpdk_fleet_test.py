"""One gateway over DPDK beside those over AF_XDP: the tests of the fleet, and the host behind the twin."""

import unittest

import fleet_test
from fleet_case import FleetCase, plan, pod, wait_until
from fleet import dpdk
from fleet.traffic import ping


class Dpdk:
    """Mix-in for a FleetCase."""

    queues = 1

    @classmethod
    def make_fleet(cls):
        cls.settings = dpdk.settings_of(cls.settings, cls.queues)
        fleet = super().make_fleet()
        fleet.topology = dpdk.DpdkTopology(fleet.prefix)
        return fleet

    def dpdk_device(self):
        """Its row in the status of the gateway."""
        rows = self.fleet.gateways[dpdk.GATEWAY].status()["devices"]
        return next(row for row in rows if row["name"] == dpdk.TWIN)


class PodToPod(Dpdk, fleet_test.PodToPod):
    pass


class GlobalService(Dpdk, fleet_test.GlobalService):
    queues = 2


class Failover(Dpdk, fleet_test.Failover):
    pass


class Host(Dpdk, FleetCase):
    """What is not the fleet's reaches the node's own stack."""

    def node(self):
        return self.fleet.node("west", "node1")

    def test_the_node_answers_and_asks(self):
        west = plan.cluster("west")
        router = self.fleet.topology.namespaces["router"]
        self.assertTrue(ping(router, west.node_ipv4(west.node("node1"))))
        self.assertTrue(ping(router, west.node_ipv6(west.node("node1"))))
        self.assertTrue(ping(self.node(), f"{west.site_ipv4}.1"))

    def test_packets_of_both_kinds_are_counted_apart(self):
        before = self.dpdk_device()
        west = plan.cluster("west")
        self.assertTrue(ping(self.fleet.topology.namespaces["router"], west.node_ipv4(west.node("node1"))))
        wait_until(lambda: ping(self.fleet.pod("east", "client"), pod("west-web-0").ipv4), what="east reaches west")
        after = self.dpdk_device()
        for count in ("given", "taken"):
            self.assertGreater(after["host"][count], before["host"][count], count)
        for count in ("rx_packets", "tx_packets"):
            self.assertGreater(after[count], before[count], count)
        self.assertEqual(after["host"]["full"], 0)


if __name__ == "__main__":
    unittest.main()
