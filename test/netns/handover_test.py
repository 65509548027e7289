"""Planned restarts: a gateway takes over from the one that runs, under numbered packets and new flows both ways."""

import os
import signal
import socket
import time
import unittest
import unittest.mock

from fleet_case import PROGRAM, FleetCase, wait_until
from fleet.handover import (BUSY, GIVE, HELLO, LATE, REFUSED, STATE, STOP, TAKEN, WELCOME, FakeSuccessor, Relay,
                            hello_of)
from fleet.numbered import AFTER, Numbered, west_and_north
from fleet.shell import run

class HandOver(Numbered, FleetCase):
    settings = {"health": "{interval: 200ms}"}

    @classmethod
    def prepare(cls):
        cls.gateway = cls.fleet.gateways["west-1"]

    def setUp(self):
        if not self.gateway.alive:  # after a test that has failed
            self.gateway.start()
            self.fleet.wait_peers()

    def successor(self):
        """Starts it beside the one that runs, which it returns."""
        before = self.gateway.daemon
        self.gateway.start(wait=False)
        return before

    def wait_taken_over(self, before):
        after = self.gateway.daemon
        wait_until(lambda: f"handed over to process {after.pid}" in after.log_tail(400), timeout=30,
                   what=f"taken over:\n{after.log_tail(30)}")
        self.assertTrue(before.alive)
        before.stop(timeout=20)
        self.assertEqual(before.popen.returncode, 0)
        self.gateway.wait_ready()

    def test_nothing_is_lost_or_doubled_and_new_flows_are_opened(self):
        pairs = self.traffic(*west_and_north())
        for _ in range(3):
            self.wait_taken_over(self.successor())
            time.sleep(AFTER)
        self.assert_complete(pairs)
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")

    def test_one_that_has_handed_over_stays_until_it_is_ended(self):
        before = self.successor()
        wait_until(lambda: f"handed over to process {self.gateway.daemon.pid}" in before.log_tail(400), timeout=30,
                   what="taken over")
        time.sleep(AFTER)
        self.assertTrue(before.alive)
        before.stop(timeout=20)
        self.assertEqual(before.popen.returncode, 0)
        self.gateway.wait_ready()

    def test_a_successor_that_dies_before_it_has_taken_what_is_handed_over_costs_nothing(self):
        hello = hello_of(self.gateway)
        pairs = self.traffic(*west_and_north())
        for say in (GIVE, HELLO):  # as far as
            successor = FakeSuccessor(self.gateway)
            if say == GIVE:
                successor.take(hello)
            else:
                successor.say(HELLO, hello)
                self.assertEqual(successor.hear()[0], WELCOME)
            successor.close()
            time.sleep(AFTER)
        self.assert_complete(pairs)
        self.wait_taken_over(self.successor())

    def test_a_successor_that_hangs_costs_nothing_and_comes_too_late(self):
        hello = hello_of(self.gateway)
        pairs = self.traffic(*west_and_north())
        successor = FakeSuccessor(self.gateway)
        successor.take(hello)
        self.assertEqual(successor.hear(), (LATE, b""))
        with self.assertRaises(OSError):
            successor.say(TAKEN)
        successor.close()
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_after_a_successor_that_dies_before_it_serves_the_gateway_starts_anew(self):
        hello = hello_of(self.gateway)
        successor = FakeSuccessor(self.gateway)
        successor.take(hello)
        successor.say(TAKEN)
        successor.close()
        wait_until(lambda: "died before it served" in self.gateway.daemon.log_tail(100), what="it is noticed")
        self.gateway.wait_ready()
        self.fleet.wait_peers()
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.assert_complete(self.traffic(*west_and_north()))

    def end_at(self, kind):
        """Starts a successor; the gateway is killed when it sends this."""
        before = self.gateway.daemon
        relay = Relay(self.gateway, lambda sent: before.kill() if sent == kind else None)
        self.addCleanup(relay.close)
        self.gateway.start(wait=False)
        before.popen.wait(30)
        self.gateway.wait_ready()
        self.fleet.wait_peers()

    def test_of_a_predecessor_that_dies_once_it_has_described_everything_nothing_is_lost(self):
        pairs = self.traffic(*west_and_north())
        self.end_at(STATE)
        time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_without_the_predecessor_the_successor_starts_by_itself(self):
        for kind in (WELCOME, BUSY):
            if kind == BUSY:  # what it says while it stands: nothing; killed before it is asked
                before = self.gateway.daemon
                before.signal(signal.SIGSTOP)
                self.gateway.start(wait=False)
                time.sleep(0.5)
                before.kill()
                self.gateway.wait_ready()
            else:
                self.end_at(kind)
            self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.fleet.wait_peers(timeout=150)  # hysteresis, of all failures of this class
        self.assert_complete(self.traffic(*west_and_north()))

    def configure(self, before, after):
        """Until the end of the test, the next start has another configuration."""
        with open(self.gateway.config, encoding="utf-8") as file:
            text = file.read()
        self.assertIn(before, text)

        def restore():
            with open(self.gateway.config, "w", encoding="utf-8") as file:
                file.write(text)
            self.gateway.stop()
            self.gateway.start()
            self.fleet.wait_peers()
        self.addCleanup(restore)
        with open(self.gateway.config, "w", encoding="utf-8") as file:
            file.write(text.replace(before, after))

    def test_with_a_table_for_millions_of_connections_nothing_is_lost_either(self):
        """What takes the longer the larger the table is, is done before the workers stand."""
        self.configure("  connections: 65536", f"  connections: {1 << 22}")
        self.gateway.stop()
        self.gateway.start()
        self.fleet.wait_peers()
        pairs = self.traffic(*west_and_north())
        for _ in range(2):
            self.wait_taken_over(self.successor())
            time.sleep(AFTER)
        self.assert_complete(pairs)

    def test_one_with_other_parameters_stops_it_and_starts(self):
        self.configure("  idle: sleep", "  idle: sleep\n  frames: 8192")
        before = self.successor()
        wait_until(lambda: f"handed over to process {self.gateway.daemon.pid}" in before.log_tail(400), timeout=30,
                   what="taken over")
        self.gateway.wait_ready()
        self.fleet.wait_peers()
        log = before.log_tail(400)
        self.assertEqual(log.count("engine.frames was "), 3, log)  # the one that runs, and twice its successor
        before.stop(timeout=20)
        self.assertEqual(before.popen.returncode, 0)
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.assert_complete(self.traffic(*west_and_north()))

    def test_only_one_takes_over_at_a_time(self):
        first = FakeSuccessor(self.gateway)
        first.say(HELLO, hello_of(self.gateway))
        self.assertEqual(first.hear()[0], WELCOME)
        runs = self.gateway.daemon
        self.successor()
        second = self.gateway.daemon
        self.gateway.daemon = runs
        second.popen.wait(20)
        self.assertNotEqual(second.popen.returncode, 0)
        self.assertIn("is taking over", second.log_tail(5))
        first.close()
        self.wait_taken_over(self.successor())

    def test_another_user_and_another_language_are_refused(self):
        pairs = self.traffic(*west_and_north())
        process = os.fork()
        if process == 0:
            os.setuid(65534)
            try:
                FakeSuccessor(self.gateway)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), 0)
        for words in ([(GIVE, b"")], [(STOP, b"")], [(TAKEN, b"")], [(HELLO, b"gateway.name=other")],
                      [(200, os.urandom(1000))]):
            stranger = FakeSuccessor(self.gateway)
            for kind, text in words:
                stranger.say(kind, text)
            answer = stranger.hear()
            self.assertIn(answer and answer[0], (None, REFUSED))
            stranger.close()
        silent = FakeSuccessor(self.gateway)
        self.wait_taken_over(self.successor())
        silent.close()
        time.sleep(AFTER)
        self.assert_complete(pairs)


def children(process):
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


class ServiceManager(Numbered, FleetCase):
    """As systemd restarts it: the old process is told to stop and has ended before the new one starts."""

    settings = {"health": "{interval: 200ms}", "handover": "{wait: 8s}"}

    @classmethod
    def prepare(cls):
        cls.gateway = cls.fleet.gateways["west-1"]
        cls.addClassCleanup(cls.end)

    @classmethod
    def end(cls):
        """None of them awaits a successor any more."""
        for gateway in cls.fleet.gateways.values():
            behind = children(gateway.daemon.pid) if gateway.alive else []
            for _ in range(2):
                for process in behind:
                    os.kill(process, signal.SIGTERM)
                time.sleep(0.5)

    def stop(self):
        """As the manager stops it; returns the process that goes on."""
        behind, = children(self.gateway.daemon.pid)
        self.assertEqual(self.gateway.stop(), 0)
        return behind

    def test_of_a_restart_nothing_is_lost_or_doubled_and_new_flows_are_opened(self):
        pairs = self.traffic(*west_and_north())
        for _ in range(2):
            behind = self.stop()
            time.sleep(1)  # what a service manager does between
            self.gateway.start()
            wait_until(lambda process=behind: not os.path.exists(f"/proc/{process}"), what="the one before has ended")
            time.sleep(AFTER)
        self.assert_complete(pairs)
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")

    def drain(self, option):
        run([PROGRAM, "drain", "--socket", self.gateway.socket, option])

    def test_one_that_was_told_to_end_says_nothing_to_the_manager(self):
        behind = self.stop()
        self.addCleanup(self.fleet.wait_peers)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = os.path.join(os.path.dirname(self.gateway.socket), "notify")
            manager.bind(path)
            self.addCleanup(os.unlink, path)
            os.kill(behind, signal.SIGTERM)
            wait_until(lambda: not os.path.exists(f"/proc/{behind}"), what="it has ended")
            with unittest.mock.patch.dict(os.environ, NOTIFY_SOCKET=path):
                self.gateway.start()
            manager.settimeout(30)
            said = b""
            while b"READY=1" not in said:
                said = manager.recv(1000)
            self.drain("--wait=0s")
            self.assertEqual(manager.recv(1000), b"STATUS=draining")
            self.stop()
            for option in ("--undo", "--wait=0s", "--undo"):
                self.drain(option)
            manager.setblocking(False)
            with self.assertRaises(BlockingIOError):
                manager.recv(1000)
        self.gateway.start()

    def test_without_a_successor_it_ends_when_the_time_is_up(self):
        behind = self.stop()
        self.assertEqual(self.gateway.status()["state"], "serving")
        wait_until(lambda: not os.path.exists(f"/proc/{behind}"), timeout=30, what="it ends")
        self.gateway.start()
        self.fleet.wait_peers()

    def test_one_that_dies_is_seen_to_have_died(self):
        behind, = children(self.gateway.daemon.pid)
        os.kill(behind, signal.SIGKILL)
        self.gateway.daemon.popen.wait(20)
        self.assertEqual(self.gateway.daemon.popen.returncode, 128 + signal.SIGKILL)
        self.gateway.start()
        self.fleet.wait_peers()

    def test_none_is_left_without_the_process_in_front(self):
        behind, = children(self.gateway.daemon.pid)
        self.gateway.daemon.kill()
        wait_until(lambda: not os.path.exists(f"/proc/{behind}"), what="it ends with the process in front")
        self.gateway.start()
        self.fleet.wait_peers()

    def test_one_that_hangs_while_it_goes_on_is_not_in_the_way_for_ever(self):
        behind = self.stop()
        os.kill(behind, signal.SIGSTOP)
        wait_until(lambda: not os.path.exists(f"/proc/{behind}"), timeout=40, what="it is ended")
        self.gateway.start()
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.fleet.wait_peers()


if __name__ == "__main__":
    unittest.main()
