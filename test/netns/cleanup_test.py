"""`isthmus cleanup` removes everything that a stopped gateway leaves on its node, and nothing else."""

import json
import os
import unittest

import yaml
from fleet_case import PREFIX, PROGRAM, Fleet
from fleet.bpf_file_system import BpfFileSystem


class Cleanup(unittest.TestCase):
    """A gateway with a veth local device, and one with a single device for both sides."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.addClassCleanup(BpfFileSystem().close)
        cls.fleet = Fleet(PROGRAM, PREFIX)
        cls.addClassCleanup(cls.fleet.close)
        cls.fleet.build()

    def start_and_stop(self, name):
        self.fleet.start_gateways([name])
        gateway = self.fleet.gateways[name]
        done = gateway.netns.run([PROGRAM, "cleanup", "-c", gateway.config], check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("running", done.stderr)
        gateway.stop()
        self.assertFalse(os.path.exists(gateway.socket))
        return gateway

    def links(self, gateway):
        """{interface: has an XDP program}."""
        rows = json.loads(gateway.netns.run(["ip", "-j", "-d", "link"]).stdout)
        return {row["ifname"]: "prog" in (row.get("xdp") or {}) for row in rows}

    def routes(self, gateway):
        return gateway.netns.run(["ip", "route", "show", "table", "main"]).stdout

    def pins(self, gateway):
        """What is pinned for the gateway's interfaces, whose namespace is part of the name."""
        number = os.stat(f"/run/netns/{gateway.netns.name}").st_ino
        return sorted(name for name in os.listdir("/sys/fs/bpf/isthmus") if f"{number}-" in name)

    def clean_up(self, gateway):
        done = gateway.netns.run([PROGRAM, "cleanup", "-c", gateway.config], check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_removes_the_veth_device_its_routes_and_xdp_programs(self):
        gateway = self.start_and_stop("west-1")
        before = self.links(gateway)
        self.assertTrue(before["eth0"])
        self.assertTrue(before["isthmus0x"])
        self.assertIn("dev isthmus0", self.routes(gateway))
        self.assertEqual(len(self.pins(gateway)), 12, "of each a link, its program, and four maps")
        self.clean_up(gateway)
        self.assertEqual(self.pins(gateway), [])
        after = self.links(gateway)
        self.assertEqual(after, {name: False for name in before if name not in ("isthmus0", "isthmus0x")})
        self.assertNotIn("isthmus0", self.routes(gateway))
        self.assertEqual([name for _, _, names in os.walk(gateway.state) for name in names if "west-1" in name], [])
        self.assertFalse(os.path.exists(gateway.known))
        self.clean_up(gateway)  # a second run has nothing to remove and succeeds

    def test_what_is_pinned_goes_with_an_interface_that_has_gone_before(self):
        gateway = self.start_and_stop("east-1")
        gateway.netns.run(["ip", "link", "del", "isthmus0"])
        self.assertEqual(len(self.pins(gateway)), 12)
        self.clean_up(gateway)
        self.assertEqual(self.pins(gateway), [])

    def test_a_link_in_the_place_of_a_folder_is_not_followed(self):
        gateway = self.start_and_stop("west-1")
        with open(gateway.config, encoding="utf-8") as file:
            folder = os.path.join(yaml.safe_load(file)["state"]["directory"], "isthmus")
        moved = folder + "-moved"
        os.rename(folder, moved)
        os.symlink(moved, folder)
        done = gateway.netns.run([PROGRAM, "cleanup", "-c", gateway.config], check=False)
        left = os.listdir(moved)
        os.unlink(folder)
        os.rename(moved, folder)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("its folder is a link", done.stderr)
        self.assertIn("west-1.flows", left)
        self.clean_up(gateway)

    def test_keeps_a_device_that_it_did_not_create(self):
        gateway = self.start_and_stop("north-1")
        before, routes = self.links(gateway), self.routes(gateway)
        self.assertTrue(before["eth0"])
        self.clean_up(gateway)
        self.assertEqual(self.links(gateway), {name: False for name in before})
        self.assertEqual(self.routes(gateway), routes)


if __name__ == "__main__":
    unittest.main()
