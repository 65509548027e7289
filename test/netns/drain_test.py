"""isthmus drain: peers leave one of two gateways before it ends, and no packet that they send into its cluster is lost.

East's node1 has east-1, which is drained, and node2 has east-2. Node3 has none and routes to both: its routes, which
drain cannot move, are moved before the gateway ends. Pods of node1 have no other gateway than that of their node.
What else may happen meanwhile is in drain_meanwhile_test.py.
"""

import subprocess
import time
import unittest

from fleet_case import PROGRAM, FleetCase, plan, pod, wait_until
from fleet.numbered import AFTER, PORT, Numbered
from fleet.shell import run
from fleet.traffic import ping

PORTS = (("numbered", "TCP", PORT, PORT), ("numbered-udp", "UDP", PORT, PORT))
RECOVERY = 150  # hysteresis: after repeated failures, a gateway must answer for longer before it is alive again
REMOTE = ("west-1", "north-1")


class Draining(Numbered, FleetCase):
    settings = {"health": "{interval: 200ms, hold: 2s}"}
    drained_name = "east-1"

    @classmethod
    def serve(cls, name, *behind):
        """A service with these pods behind it; returns its VIPs."""
        vips = cls.fleet.allocate(f"shop/{name}")
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster, name, ports=PORTS,
                                        backends=[each for each in behind if each.cluster == cluster.name])
        cls.fleet.wait_backends(f"shop/{name}", [address for each in behind for address in (each.ipv4, each.ipv6)])
        return vips

    @classmethod
    def route_node3(cls, *nodes):
        """What node3 sends to the fleet goes to the gateways of these nodes."""
        east = plan.cluster("east")
        commands = []
        for prefix in plan.remote_prefixes("east"):
            address = east.node_ipv6 if ":" in prefix else east.node_ipv4
            hops = " ".join(f"nexthop via {address(east.node(name))}" for name in nodes)
            commands.append(f"route replace {prefix} {hops}")
        cls.fleet.node("east", "node3").ip(*commands)

    def setUp(self):
        self.gateway = self.fleet.gateways[self.drained_name]
        if not self.gateway.alive:
            self.gateway.start()
        self.drain("--undo")
        self.fleet.wait_peers(timeout=RECOVERY)

    def drain_command(self, *options, of=None):
        return [PROGRAM, "drain", "--socket", (of or self.gateway).socket, *options]

    def drain(self, *options, of=None):
        """What the command prints."""
        return run(self.drain_command(*options, of=of)).stdout

    def senders(self):
        """Gateways of other clusters that may send to the drained one."""
        own = self.gateway.gateway.cluster
        return [name for name, gateway in self.fleet.gateways.items()
                if gateway.gateway.cluster != own and self.drained_name in gateway.live_peers()]

    def seen_by(self, name):
        """What that gateway's status says of the drained one."""
        row, = [row for row in self.fleet.gateways[name].status()["peers"] if row["name"] == self.drained_name]
        return row

    def problems_of(self, name):
        return [(row["where"], row["what"]) for row in self.fleet.gateways[name].status()["problems"]]

    def hand_over(self, gateway):
        before = gateway.daemon
        gateway.start(wait=False)
        wait_until(lambda: f"handed over to process {gateway.daemon.pid}" in before.log_tail(400), what="taken over")
        before.stop(timeout=20)
        gateway.wait_ready()

    def drain_and_wait(self):
        said = self.drain()
        wait_until(lambda: not self.senders(), what="peers send elsewhere")
        return said


class OneOfTwo(Draining):
    @classmethod
    def prepare(cls):
        cls.vips = cls.serve("here", pod("east-web-2"))
        cls.away = cls.serve("away", pod("west-web-1"))

    def drain_and_end(self, end):
        """To pods of node2, of node3 through a service, and from node3 to a service."""
        self.addCleanup(self.route_node3, "node1", "node2")
        pairs = self.traffic(("west-client", "east-web-1", pod("east-web-1").ipv4),
                             ("north-client", "east-web-2", self.vips[1]),
                             ("east-client3", "west-web-1", self.away[0]))
        self.assertIn("peers send to east-2,", self.drain_and_wait())
        time.sleep(AFTER)  # each flow moves at its next packet; its answers may take the other way only then
        self.route_node3("node2")
        time.sleep(AFTER)
        end()
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_nothing_is_lost_when_it_is_stopped(self):
        self.drain_and_end(lambda: self.assertEqual(self.gateway.stop(), 0))

    def test_nothing_is_lost_when_it_is_killed(self):
        self.drain_and_end(self.gateway.kill)

    def test_what_still_comes_is_forwarded_and_undo_loses_nothing(self):
        pairs = self.traffic(("east-client", "west-web-0", pod("west-web-0").ipv4),
                             ("north-web-1", "east-web-0", pod("east-web-0").ipv6),
                             ("west-client", "east-web-2", self.vips[0]))
        self.drain_and_wait()
        time.sleep(AFTER)
        self.assertIn("serving: ", self.drain("--undo"))
        self.fleet.wait_peers(timeout=RECOVERY)
        time.sleep(AFTER)
        self.assert_complete(pairs)


class Said(Draining):
    """Where it shows, and how long the command takes."""

    def page(self, path):
        """Its status and text."""
        done = self.gateway.netns.run(["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:9979{path}"])
        return int(done.stdout[-3:]), done.stdout[:-3]

    def problems(self):
        return [row["what"] for row in self.gateway.status()["problems"] if "drained" in row["what"]]

    def assert_serving(self):
        self.assertEqual((self.page("/readyz"), self.problems()), ((200, "ok"), []))

    def test_readyz_and_status_say_it_until_undo(self):
        self.assert_serving()
        self.drain_and_wait()
        status, text = self.page("/readyz")
        self.assertEqual(status, 503)
        self.assertIn("[-]draining failed: it is drained", text)
        self.assertIn("[+]tables ok", text)
        self.assertEqual(len(self.problems()), 1)
        self.assertRegex(self.page("/metrics")[1], r"(?m)^isthmus_probes_left_total\S* [1-9]")
        for name in REMOTE:
            self.assertEqual(self.seen_by(name)["health"], "draining")
            self.assertEqual(self.problems_of(name), [], "a drain is no problem of its peers")
        self.drain("--undo")
        self.assert_serving()
        self.fleet.wait_peers(timeout=RECOVERY)

    def test_one_that_is_started_again_is_not_drained(self):
        for end in (self.gateway.stop, self.gateway.kill):
            self.drain_and_wait()
            end()
            self.gateway.start()
            self.assert_serving()
            self.fleet.wait_peers(timeout=RECOVERY)

    def test_one_that_takes_over_is_not_drained(self):
        self.drain_and_wait()
        self.hand_over(self.gateway)
        self.assert_serving()
        self.fleet.wait_peers(timeout=RECOVERY)

    def test_the_command_returns_after_wait_or_with_the_gateway(self):
        begun = time.monotonic()
        self.drain("--wait", "1500ms")
        self.assertGreaterEqual(time.monotonic() - begun, 1.5)
        waits = subprocess.Popen(self.drain_command("--wait", "60m"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(waits.kill)
        self.assertIn("draining", waits.stdout.readline())
        self.assertIsNone(waits.poll())
        self.gateway.stop()
        self.assertEqual(waits.wait(60), 0)
        waits.stdout.close()

    def test_undo_does_not_wait(self):
        refused = run(self.drain_command("--undo", "--wait", "1s"), check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--wait", refused.stderr)

    def test_without_a_gateway_it_fails(self):
        self.gateway.stop()
        self.assertNotEqual(run(self.drain_command(), check=False).returncode, 0)


class TheOnlyOne(Draining):
    """North-1 has no other gateway beside it."""

    drained_name = "north-1"

    @classmethod
    def prepare(cls):
        cls.vips = cls.serve("north", pod("north-web-1"))
        cls.both = cls.serve("both", pod("north-web-1"), pod("west-web-1"))

    def backends(self):
        return self.fleet.gateways["east-1"].usable_backends("shop/both")

    def test_peers_go_on_sending_to_it_and_services_go_elsewhere(self):
        pairs = self.traffic(("west-client", "north-web-0", pod("north-web-0").ipv4),
                             ("north-client", "west-web-0", pod("west-web-0").ipv4),
                             ("west-web-1", "north-web-1", self.vips[0]))
        self.assertIn("its cluster has no other gateway: peers go on sending to it", self.drain_and_wait())
        self.assertTrue([what for _, what in self.problems_of("north-1") if "no other gateway" in what])
        west = {pod("west-web-1").ipv4, pod("west-web-1").ipv6}
        wait_until(lambda: self.backends() == west, what="new connections go to backends elsewhere")
        self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod("north-web-1").ipv4, count=1))
        time.sleep(2 * AFTER)  # more than health.hold
        self.assert_complete(pairs)
        self.drain("--undo")
        self.fleet.wait_peers(timeout=RECOVERY)
        wait_until(lambda: len(self.backends()) == 4, what="and here again")


if __name__ == "__main__":
    unittest.main()
