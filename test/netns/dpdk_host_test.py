"""The host behind the twin of a DPDK device, under a flood: BFD, a TCP stream, pings, neighbours."""

import os
import re
import shutil
import time
import unittest

from fleet_case import FleetCase, plan, wait_until
from fleet import dpdk
from fleet.shell import run
from fleet.traffic import iperf, ping

BIRD = """\
log "{folder}/{name}.log" all;
router id {router_id};
protocol device {{ }}
protocol bfd {{
  interface "{interface}" {{ min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }};
  neighbor {neighbour} dev "{interface}";
}}
"""
FLOOD_PORT = 7999
SECONDS = 5
ATTEMPTS = 4


@unittest.skipUnless(shutil.which("bird"), "bird is not installed")
class HostUnderFlood(FleetCase):
    """The node and its router have a BFD session of 3 x 50 ms, while the node is flooded from elsewhere."""

    @classmethod
    def make_fleet(cls):
        cls.settings = dpdk.settings_of(cls.settings)
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        west = plan.cluster("west")
        cls.node = cls.fleet.node("west", "node1")
        cls.router = cls.fleet.topology.namespaces["router"]
        cls.address, cls.hop = west.node_ipv4(west.node("node1")), f"{west.site_ipv4}.1"
        cls.start_bird(cls.router, "router", "west", cls.address)
        cls.start_bird(cls.node, "node", dpdk.TWIN, cls.hop)

    @classmethod
    def start_bird(cls, netns, name, interface, neighbour):
        folder = cls.fleet.folder
        config = os.path.join(folder, f"{name}.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(BIRD.format(folder=folder, name=f"bird-{name}", router_id=f"192.0.2.{len(name)}",
                                   interface=interface, neighbour=neighbour))
        daemon = netns.start(f"bird-{name}", ["bird", "-f", "-c", config, "-s", cls.control(name)],
                             os.path.join(folder, f"{name}.out"))
        cls.addClassCleanup(daemon.stop)

    @classmethod
    def control(cls, name):
        return os.path.join(cls.fleet.folder, f"bird-{name}.ctl")

    def session_up(self, name):
        done = run(["birdc", "-s", self.control(name), "show", "bfd", "sessions"], check=False)
        return bool(re.search(r"\bUp\b", done.stdout))

    def changes(self, name):
        """Lines of the log about the session's state."""
        with open(os.path.join(self.fleet.folder, f"bird-{name}.log"), encoding="utf-8") as file:
            return [line.rstrip() for line in file if "changed state" in line or "Neighbor" in line]

    def flood(self):
        """Datagrams of the least size at full speed, from east's node; nobody has the port."""
        sender = self.fleet.node("east", "node3")
        script = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                  f"s.connect(('{self.address}', {FLOOD_PORT}))\n"
                  "while True:\n  try: s.send(b'x')\n  except OSError: pass\n")
        daemon = sender.start("flood", ["/usr/bin/python3", "-c", script],
                              os.path.join(self.fleet.folder, "flood.log"))
        self.addCleanup(daemon.kill)
        return daemon

    def host(self):
        rows = self.fleet.gateways[dpdk.GATEWAY].status()["devices"]
        return next(row for row in rows if row["name"] == dpdk.TWIN)["host"]

    def changed_in_flood(self):
        """The changes of the sessions while pings and a TCP stream pass beside a flood."""
        for name in ("router", "node"):
            wait_until(lambda of=name: self.session_up(of), what=f"BFD of the {name} is up")
        before, given = {name: self.changes(name) for name in ("router", "node")}, self.host()["given"]
        flood = self.flood()
        end = time.monotonic() + SECONDS
        pings = 0
        while time.monotonic() < end:
            pings += bool(ping(self.router, self.address))
            time.sleep(0.1)
        received = iperf(self.router, self.node, self.address, "-n", "20M")
        flood.kill()
        self.assertGreater(received["bytes"], 10_000_000)  # what the receiver had read when it was told the end
        self.assertGreater(pings, 0)
        self.assertGreater(self.host()["given"] - given, 10_000, "that was no flood")
        print(f"      . {pings} pings answered, {self.host()} of the host's queue")
        return [line for name in ("router", "node") for line in self.changes(name)[len(before[name]):]]

    def test_sessions_and_streams_of_the_host_outlive_it(self):
        """One of a few times: a machine that stands still for 150 ms ends a session, whatever the gateway does."""
        changes = [self.changed_in_flood()]
        while changes[-1] and len(changes) < ATTEMPTS:
            changes.append(self.changed_in_flood())
        self.assertEqual(changes[-1], [], changes)

    def test_neighbours_are_found_again(self):
        for _ in range(3):
            for netns, address in ((self.router, self.address), (self.node, self.hop)):
                netns.run(["ip", "neigh", "flush", "to", address], check=False)  # fails where there is none
            self.assertTrue(ping(self.router, self.address))
            self.assertTrue(ping(self.node, self.hop))


if __name__ == "__main__":
    unittest.main()
