"""10,000 connections, direct and through VIPs, TCP and UDP, every byte compared, while the fleet changes."""

import os
import threading
import time
import unittest

from fleet_case import LOAD, FleetCase, addresses, backends, plan, pod
from fleet.load import PORT, LoadClient, LoadServer

PORTS = (("load", "TCP", PORT, PORT), ("load-udp", "UDP", PORT, PORT))
# Behind the VIP it comes and goes during the test: connections to it are the affected ones.
FLAPPING = "north-web-1"
CHANGES = 1500
ROUND_MS = 5000


class Churn(threading.Thread):
    """Changes the hub a hundred times a second: services that come, change and go, and one backend of shop/load."""

    def __init__(self, hub):
        super().__init__()
        self.hub = hub
        self.changes = 0
        self.seconds = 0.0
        self.error = None
        self.ended = threading.Event()

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        begun = due = time.monotonic()
        try:
            while not self.ended.is_set():
                self.change(self.changes)
                self.changes += 1
                due += 0.01
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError as error:
            self.error = error
        self.seconds = time.monotonic() - begun

    def change(self, number):
        cluster = plan.CLUSTERS[number % 3]
        pods = backends(cluster.name)
        step = (number // 3) % 4
        if step == 3:
            north = plan.cluster("north")
            stay = [entry for entry in backends("north") if entry.full_name != FLAPPING or (number // 12) % 2]
            self.hub.write_service(north, "load", backends=stay, ports=PORTS)
        elif step == 2:
            self.hub.write_service(cluster, f"noise-{number % 7}", backends=[])
        else:
            self.hub.write_service(cluster, f"noise-{number % 7}", backends=pods[:1 + number % len(pods)],
                                   annotations={"isthmus.io/vip": f"10.200.0.{100 + number % 7}"})

    def stop(self):
        self.ended.set()
        self.join()


class TenThousandConnections(FleetCase):
    # On a machine that is short of processors a gateway may wait longer for one than its rings hold packets, or than it
    # takes to be called silent; here connections are to break by the fleet's changes or not at all.
    settings = {"health": "{interval: 500ms, misses: 12}", "nice": -15}

    @classmethod
    def prepare(cls):
        for entry in backends():
            cls.addClassCleanup(LoadServer(cls.fleet, entry, LOAD).stop)
        cls.vips = cls.fleet.allocate("shop/load")
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster, "load", ports=PORTS)
        cls.fleet.wait_backends("shop/load", addresses(backends()))

    def client(self, name, number, targets, *options):
        client = LoadClient(self.fleet, pod(name), LOAD, f"{name}-{number}", [(address, PORT) for address in targets],
                            "--connections", number, "--per-second", 400, "--interval-ms", ROUND_MS,
                            "--stall-ms", 120000, *options)
        self.addCleanup(client.stop)
        return client

    def clients(self):
        """(client, number of connections, through VIPs)."""
        direct = [address for entry in backends("west") for address in (entry.ipv4, entry.ipv6)]
        to_north = [address for entry in backends("north") for address in (entry.ipv4, entry.ipv6)]
        rows = (("east-client", 3000, self.vips, ()), ("west-client", 2000, self.vips, ()),
                ("north-client", 1500, direct, ()), ("east-client3", 1000, self.vips, ("--udp",)),
                ("west-client", 1500, to_north, ("--udp",)), ("east-client", 1000, direct, ()))
        return [(self.client(name, number, targets, *options), number, targets is self.vips)
                for name, number, targets, options in rows]

    def test_no_unaffected_connection_breaks_while_the_fleet_changes_a_hundred_times_a_second(self):
        churn = Churn(self.fleet.hub)
        clients = self.clients()
        self.assertEqual(sum(number for _, number, _ in clients), 10000)
        for client, number, _ in clients:
            client.wait_open(number, timeout=120)
        churn.start()
        self.addCleanup(churn.stop)
        for client, _, _ in clients:
            client.wait_rounds(3, timeout=180)
        while churn.changes < CHANGES and churn.is_alive():
            time.sleep(0.2)
        churn.stop()
        self.assertIsNone(churn.error)
        reports = [(client.wait_rounds(1, timeout=120), through_vip) for client, _, through_vip in clients]
        print(f"      . {churn.changes} changes in {churn.seconds:.1f} s; bytes verified: "
              f"{sum(report['bytes'] for report, _ in reports)}; drops {self.drops()}")
        broken = {}
        for report, through_vip in reports:
            for what, count in report["failures"].items():
                if not (through_vip and what.startswith(FLAPPING)):
                    broken[what] = broken.get(what, 0) + count
        self.assertEqual(broken, {})
        self.assertEqual(self.checksum_errors(), {})
        for gateway in self.fleet.gateways.values():
            self.assertTrue(gateway.alive, f"{gateway.name} ended:\n{gateway.daemon.log_tail()}")


if __name__ == "__main__":
    unittest.main()
