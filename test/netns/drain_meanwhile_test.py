"""What becomes of a drain when something else happens, and of a hand-over beside a peer that is down.

East has east-1, which is drained, and east-2, to which all answers go; traffic comes from west.
"""

import time
import unittest

from fleet_case import pod, wait_until
from fleet.numbered import AFTER
from drain_test import RECOVERY, REMOTE, Draining


class Meanwhile(Draining):
    @classmethod
    def prepare(cls):
        cls.vips = cls.serve("here", pod("east-web-2"))
        cls.route_node3("node2")
        cls.west, cls.second = cls.fleet.gateways["west-1"], cls.fleet.gateways["east-2"]

    def setUp(self):
        if not self.second.alive:
            self.second.start()
        self.drain("--undo", of=self.second)
        super().setUp()

    def from_west(self):
        return self.traffic(("west-client", "east-web-1", pod("east-web-1").ipv4),
                            ("west-web-1", "east-web-2", self.vips[0]))

    def wait_seen(self, health):
        wait_until(lambda: self.seen_by("west-1")["health"] == health, what=f"west-1 sees it as {health}")

    def test_of_a_peer_that_starts_meanwhile_nothing_is_lost_when_it_is_stopped(self):
        self.drain_and_wait()
        self.west.stop()
        self.west.start()
        self.wait_seen("draining")
        wait_until(lambda: "east-2" in self.west.live_peers(), what="west-1 knows east-2")
        pairs = self.from_west()
        self.assertEqual(self.gateway.stop(), 0)
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_of_a_peer_that_is_taken_over_meanwhile_nothing_is_lost_when_it_is_stopped(self):
        self.drain_and_wait()
        pairs = self.from_west()
        self.hand_over(self.west)
        self.assertEqual(self.seen_by("west-1")["health"], "draining", "its predecessor has said so")
        self.assertEqual(self.gateway.stop(), 0)
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_a_hand_over_beside_a_dead_peer_loses_nothing(self):
        self.gateway.kill()
        self.wait_seen("unreachable")
        pairs = self.from_west()
        self.hand_over(self.west)
        self.assertEqual(self.seen_by("west-1")["health"], "unreachable", "its predecessor has said so")
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_a_peer_that_starts_beside_a_dead_one_leaves_it(self):
        self.gateway.kill()
        self.west.stop()
        self.west.start()
        self.wait_seen("unreachable")
        pairs = self.from_west()
        self.assert_complete(pairs)

    def test_where_the_second_is_drained_too_both_go_on_and_say_so(self):
        # What peers know of the second is in their next probes.
        wait_until(lambda: "peers send to east-2," in self.drain_and_wait(), what="the second serves")
        pairs = self.from_west()
        self.assertIn("no other gateway of its cluster (east-1) serves ", self.drain(of=self.second))
        wait_until(lambda: all("no other gateway of its cluster serves" in self.drain_problem(name)
                               for name in ("east-1", "east-2")), what="both say it")
        time.sleep(2 * AFTER)  # more than health.hold
        self.assert_complete(pairs)

    def test_where_the_second_is_down_the_first_goes_on_and_says_so(self):
        self.second.kill()
        wait_until(lambda: not any("east-2" in self.fleet.gateways[name].live_peers() for name in REMOTE),
                   what="peers see that it is down")
        pairs = self.traffic(("west-client", "east-web-0", pod("east-web-0").ipv4))  # of the first's own node
        time.sleep(1)  # peers' next probes say it
        self.assertIn("no other gateway of its cluster (east-2) serves ", self.drain())
        self.wait_seen("draining")
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def drain_problem(self, name):
        return "".join(what for where, what in self.problems_of(name) if where == "isthmus drain")

    def test_a_drain_is_no_failure_to_its_peers(self):
        before = self.seen_by("west-1")["failures"]
        for _ in range(3):
            self.drain_and_wait()
            self.gateway.stop()
            self.wait_seen("unreachable")
            wait_until(lambda: [what for where, what in self.problems_of("west-1")
                                if where == "peer east-1" and "was drained and has ended" in what], what="it is said")
            self.gateway.start()
            self.fleet.wait_peers(timeout=RECOVERY)
        self.assertEqual(self.seen_by("west-1")["failures"], before)


if __name__ == "__main__":
    unittest.main()
