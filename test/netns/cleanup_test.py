"""What a stopped gateway leaves on its node, and that `isthmus cleanup` removes it, and only it."""

import json
import os
import unittest

from fleet_case import PREFIX, PROGRAM, Fleet


class Cleanup(unittest.TestCase):
    """One gateway with a veth local device, one with a single device for both sides."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.fleet = Fleet(PROGRAM, PREFIX)
        cls.addClassCleanup(cls.fleet.close)
        cls.fleet.build()

    def started_and_stopped(self, name):
        self.fleet.start_gateways([name])
        gateway = self.fleet.gateways[name]
        refused = gateway.space.run([PROGRAM, "cleanup", "-c", gateway.config], check=False)
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("running", refused.stderr)
        gateway.stop()
        self.assertFalse(os.path.exists(gateway.socket))
        return gateway

    def links(self, gateway):
        """Interface name: has an XDP program."""
        rows = json.loads(gateway.space.run(["ip", "-j", "-d", "link"]).stdout)
        return {row["ifname"]: "prog" in (row.get("xdp") or {}) for row in rows}

    def routes(self, gateway):
        return gateway.space.run(["ip", "route", "show", "table", "main"]).stdout

    def clean_up(self, gateway):
        done = gateway.space.run([PROGRAM, "cleanup", "-c", gateway.config], check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_veth_local_device_with_its_routes_and_programs(self):
        gateway = self.started_and_stopped("west-1")
        left = self.links(gateway)
        self.assertTrue(left["eth0"])
        self.assertTrue(left["isthmus0x"])
        self.assertIn("dev isthmus0", self.routes(gateway))
        self.clean_up(gateway)
        now = self.links(gateway)
        self.assertEqual(now, {name: False for name in left if name not in ("isthmus0", "isthmus0x")})
        self.assertNotIn("isthmus0", self.routes(gateway))
        self.assertEqual([name for name in os.listdir(gateway.state) if "west-1" in name], [])
        self.clean_up(gateway)  # nothing left to remove is no error

    def test_one_device_for_both_sides_keeps_the_device(self):
        gateway = self.started_and_stopped("north-1")
        left, routes = self.links(gateway), self.routes(gateway)
        self.assertTrue(left["eth0"])
        self.clean_up(gateway)
        self.assertEqual(self.links(gateway), {name: False for name in left})
        self.assertEqual(self.routes(gateway), routes)


if __name__ == "__main__":
    unittest.main()
