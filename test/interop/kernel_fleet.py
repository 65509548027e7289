"""Two gateways in a virtual machine (kernels_test.py): the kernel forwards what settled flows send, also while a
gateway is dead, and it counts and loses nothing."""

import time
import unittest

from fleet_case import FleetCase, plan
from fleet.numbered import AFTER, SETTLED, west_and_north
from kernel_flows_test import DOWN_SECONDS, HandedDown

INTERVAL = 0.02  # between two numbers: without hardware help, everything is slow


class TwoGateways(HandedDown, FleetCase):
    settings = {"health": "{interval: 1s, misses: 16}"}

    @classmethod
    def make_fleet(cls):
        plan.CLUSTERS = (plan.cluster("west"), plan.cluster("north"))
        fleet = super().make_fleet()
        fleet.start_resolvers = lambda: None  # there are no names
        return fleet

    @classmethod
    def prepare(cls):
        """There is no service."""

    def traffic(self):
        return self.handed_down(*west_and_north(), interval=INTERVAL)

    def test_settled_flows_are_handed_down_and_outlive_a_kill(self):
        pairs = self.traffic()
        before = [self.forwarded(name) for name in ("west-1", "north-1")]
        time.sleep(AFTER)
        for name, then in zip(("west-1", "north-1"), before):
            self.assertGreater(self.forwarded(name) - then, 100, name)
        gateway = self.fleet.gateways["west-1"]
        gateway.kill()
        time.sleep(DOWN_SECONDS)
        gateway.start()
        self.fleet.wait_peers(timeout=150)
        self.assertEqual(gateway.status()["connections"]["start"], "adopted")
        self.wait_handed_down("west-1", len(SETTLED) * len(pairs))
        time.sleep(AFTER)
        sent = self.assert_complete(pairs)
        for name in ("west-1", "north-1"):
            self.assert_counted(name, sent)


if __name__ == "__main__":
    unittest.main()
