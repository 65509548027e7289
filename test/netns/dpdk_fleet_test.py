"""One gateway over DPDK beside those over AF_XDP: the tests of the fleet, and the host behind the twin."""

import os
import re
import unittest

import fleet_test
from fleet_case import FleetCase, plan, pod, url, wait_until
from fleet import dpdk
from fleet.traffic import curl, ping


class Dpdk:
    """Mix-in for a FleetCase."""

    queues = 1

    @classmethod
    def make_fleet(cls):
        cls.settings = dpdk.settings_of(cls.settings, cls.queues)
        return super().make_fleet()

    def dpdk_device(self):
        """Its row in the status of the gateway."""
        rows = self.fleet.gateways[dpdk.GATEWAY].status()["devices"]
        return next(row for row in rows if row["name"] == dpdk.TWIN)


class PodToPod(Dpdk, fleet_test.PodToPod):
    pass


class GlobalService(Dpdk, fleet_test.GlobalService):
    queues = 2

    def test_workers_hand_packets_to_each_other(self):
        """Those of two pods, through the tunnel of two gateways: af_packet does not say that it divides what comes."""
        target, server = pod("west-web-0"), plan.cluster("west")
        for _ in range(20):
            status, body = curl(self.fleet.pod("east", "client"), url(target.ipv4, server.http_port))
            self.assertEqual((status, body.split()), (0, ["west-web-0", pod("east-client").ipv4]))
        packets = self.fleet.gateways[dpdk.GATEWAY].status()["packets"]
        self.assertGreater(packets["handed"], 0)
        self.assertEqual(packets["handoff_full"], 0)


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


class Addresses(Dpdk, FleetCase):
    """The twin has the NIC's addresses and routes while the gateway runs, and after a crash."""

    def interfaces(self):
        """Who has the node's address, and the default route."""
        node, address = self.fleet.node("west", "node1"), plan.cluster("west").node_ipv4(
            plan.cluster("west").node("node1"))
        owner = node.run(["ip", "-o", "addr", "show", "to", address]).stdout.split()
        route = node.run(["ip", "route", "show", "default"]).stdout.split()
        return (owner[1] if owner else None, route[route.index("dev") + 1] if route else None)

    def reaches_router(self):
        return ping(self.fleet.node("west", "node1"), f"{plan.cluster('west').site_ipv4}.1")

    def test_they_come_and_go_with_the_gateway(self):
        gateway = self.fleet.gateways[dpdk.GATEWAY]
        self.assertEqual(self.interfaces(), (dpdk.TWIN, dpdk.TWIN))
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(self.interfaces(), (dpdk.NIC, dpdk.NIC))
        self.assertTrue(self.reaches_router())
        gateway.start()
        self.assertEqual(self.interfaces(), (dpdk.TWIN, dpdk.TWIN))
        self.assertTrue(self.reaches_router())

    def test_they_stay_over_a_crash_until_somebody_cleans_up(self):
        gateway = self.fleet.gateways[dpdk.GATEWAY]
        gateway.kill()
        self.assertEqual(self.interfaces(), (dpdk.TWIN, dpdk.TWIN))
        gateway.start()
        self.assertEqual(self.interfaces(), (dpdk.TWIN, dpdk.TWIN))
        self.assertTrue(self.reaches_router())
        gateway.kill()
        self.fleet.node("west", "node1").run([gateway.program, "cleanup", "-c", gateway.config])
        self.assertEqual(self.interfaces(), (dpdk.NIC, dpdk.NIC))
        self.assertTrue(self.reaches_router())
        gateway.start()

    def test_nobody_takes_them_from_a_gateway_that_runs(self):
        gateway, node = self.fleet.gateways[dpdk.GATEWAY], self.fleet.node("west", "node1")
        other = os.path.join(self.fleet.folder, "other.yaml")
        with open(gateway.config, encoding="utf-8") as file:
            text = re.sub(rf'interface: {dpdk.TWIN}, dpdk: "[^"]*"', f"interface: {dpdk.NIC}", file.read())
        with open(other, "w", encoding="utf-8") as file:
            file.write(text.replace(dpdk.GATEWAY, "other"))
        done = node.run([gateway.program, "cleanup", "-c", other], check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"a running process stands in for it by {dpdk.TWIN}", done.stderr)
        self.assertEqual(self.interfaces(), (dpdk.TWIN, dpdk.TWIN))
        self.assertTrue(self.reaches_router())

    def test_a_twin_that_somebody_removes_comes_back_with_them(self):
        node = self.fleet.node("west", "node1")
        node.ip(f"link del {dpdk.TWIN}")
        wait_until(lambda: self.interfaces() == (dpdk.TWIN, dpdk.TWIN), what="the twin has the addresses again")
        wait_until(self.reaches_router, what="the node reaches its router")


if __name__ == "__main__":
    unittest.main()
