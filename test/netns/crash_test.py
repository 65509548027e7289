"""kill -9 of a gateway under load: node traffic is not affected, and connections survive the restart."""

import re
import time
import unittest

from fleet_case import LOAD, FleetCase, addresses, backends, plan, pod, wait_until
from fleet.load import PORT, LoadClient, LoadServer

PORTS = (("load", "TCP", PORT, PORT), ("load-udp", "UDP", PORT, PORT))
DOWN_SECONDS = 2.0
RECOVERY = 150  # hysteresis: after repeated failures, a gateway must answer for longer before it is alive again


class SteadyPing:
    """Pings a hundred times a second until stop()."""

    def __init__(self, fleet, netns, address, name):
        self.daemon = netns.start(name, ["ping", "-n", "-q", "-i", "0.01", address],
                                  f"{fleet.folder}/log/ping-{name}.log")

    def stop(self):
        """Returns (requests sent, replies received)."""
        self.daemon.signal(2)
        self.daemon.popen.wait(5)
        words = re.search(r"(\d+) packets transmitted, (\d+) received", self.daemon.log_tail())
        return int(words.group(1)), int(words.group(2))


class GatewayCrash(FleetCase):
    @classmethod
    def prepare(cls):
        for entry in backends():
            cls.addClassCleanup(LoadServer(cls.fleet, entry, LOAD).stop)
        cls.vips = cls.fleet.allocate("shop/load")
        cls.write_services(backends())
        cls.fleet.wait_backends("shop/load", addresses(backends()))

    @classmethod
    def write_services(cls, pods):
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster, "load", ports=PORTS,
                                        backends=[entry for entry in pods if entry.cluster == cluster.name])

    def setUp(self):
        self.write_services(backends())
        self.fleet.wait_peers(timeout=RECOVERY)
        self.fleet.wait_backends("shop/load", addresses(backends()), timeout=RECOVERY)

    def client(self, name, label, targets, *options):
        client = LoadClient(self.fleet, pod(name), LOAD, f"{self._testMethodName[:40]}-{label}",
                            [(address, PORT) for address in targets], "--interval-ms", 200, "--stall-ms", 90000,
                            *options)
        self.addCleanup(client.stop)
        return client

    def kill_and_restart(self, name, while_down=lambda: None):
        gateway = self.fleet.gateways[name]
        gateway.kill()
        while_down()
        time.sleep(DOWN_SECONDS)  # long enough for every connection to retransmit
        gateway.start()
        self.fleet.wait_peers(timeout=RECOVERY)

    def test_node_traffic_is_not_interrupted(self):
        """Node to node and pod to pod within a cluster, through the device of the killed gateway."""
        load = self.client("east-client", "load", self.vips, "--connections", 200)
        load.wait_open(200)
        pings = [SteadyPing(self.fleet, self.fleet.node("east", "node1"), "203.0.113.11", "node-to-node"),
                 SteadyPing(self.fleet, self.fleet.node("east", "node1"), "fd00:ee:2::11", "node-to-node-ipv6"),
                 SteadyPing(self.fleet, self.fleet.pod("east", "client3"), pod("east-web-0").ipv4, "pod-to-pod"),
                 SteadyPing(self.fleet, self.fleet.pod("east", "client"), pod("east-web-2").ipv6, "pod-to-pod-ipv6")]
        time.sleep(1.0)
        self.kill_and_restart("east-1")
        time.sleep(1.0)
        counts = [steady.stop() for steady in pings]
        self.assertTrue(all(sent > 200 for sent, _ in counts), counts)
        self.assertEqual([sent - answered for sent, answered in counts], [0, 0, 0, 0], counts)

    def test_connections_survive_a_restart_of_the_clients_gateway(self):
        clients = [self.client("west-client", "vip", self.vips, "--connections", 300),
                   self.client("west-client", "direct", addresses(backends("north")), "--connections", 100),
                   self.client("west-client", "udp", self.vips, "--connections", 100, "--udp")]
        self.check_survival(clients, (300, 100, 100), "west-1")

    def test_connections_survive_a_restart_of_the_servers_gateway(self):
        """North's gateway has one device for both sides; connections to the VIP go to all clusters."""
        clients = [self.client("east-client", "direct", addresses(backends("north")), "--connections", 100),
                   self.client("west-client", "vip", self.vips, "--connections", 200)]
        self.check_survival(clients, (100, 200), "north-1")

    def test_connections_survive_a_restart_of_one_of_two_gateways(self):
        """While east-1 is away, the replies of other clusters go to east-2, which does not know the connections."""
        clients = [self.client("east-client", "direct", addresses(backends("west")), "--connections", 100),
                   self.client("east-client", "vip", self.vips, "--connections", 100),
                   self.client("east-client", "udp", addresses(backends("west")), "--connections", 50, "--udp")]
        self.check_survival(clients, (100, 100, 50), "east-1")

    def test_server_push_connections_survive_a_restart(self):
        """The clients send nothing after the handshake: the first packets after the restart are the server's."""
        clients = [self.client("west-client", "vip", self.vips, "--connections", 100, "--push"),
                   self.client("west-client", "direct", addresses(backends("north")), "--connections", 50, "--push")]
        self.check_survival(clients, (100, 50), "west-1")

    def check_survival(self, clients, counts, gateway):
        for client, count in zip(clients, counts):
            client.wait_open(count)
            client.wait_rounds(2)
        self.kill_and_restart(gateway)
        connections = self.fleet.gateways[gateway].status()["connections"]
        self.assertEqual((connections["start"], connections["start_reason"]), ("adopted", ""))
        adopted = connections["adopted"]
        for client in clients:
            self.assertEqual(client.wait_rounds(4)["failures"], {}, f"adopted {adopted}, drops {self.drops()}")
        self.assertGreaterEqual(adopted, counts[0], "connections were not restored from the saved table")

    def test_connections_keep_their_backends_if_the_backend_set_changes_during_the_restart(self):
        """A backend is removed, which changes the Maglev ring: only its own connections may break."""
        removed = pod("north-web-1")
        client = self.client("west-client", "vip", self.vips, "--connections", 400)
        push = self.client("west-client", "push", self.vips, "--connections", 100, "--push")
        client.wait_open(400)
        push.wait_open(100)
        remaining = [entry for entry in backends() if entry != removed]
        self.kill_and_restart("west-1", while_down=lambda: self.write_services(remaining))
        self.fleet.wait_backends("shop/load", addresses(remaining), timeout=RECOVERY)
        others = {entry.full_name for entry in remaining}

        def progressed(before):
            return lambda report: all(row["min_rounds"] >= before[name]["min_rounds"] + 4
                                      for name, row in report["backends"].items() if name in others)
        for load in (client, push):
            before = load.latest()["backends"]
            report = load.wait(progressed(before), 90, "rounds on the remaining backends")
            broken = {name: row["failed"] for name, row in report["backends"].items()
                      if name in others and row["failed"]}
            self.assertEqual(broken, {}, report["failures"])

    def test_fleet_traffic_is_not_sent_in_clear_while_the_gateway_is_down(self):
        """The router between the sites counts packets to pods that are outside a tunnel."""
        router = self.fleet.topology.namespaces["router"]
        router.run(["nft", "add table ip leak; add chain ip leak seen { type filter hook forward priority 0; };"
                           "add rule ip leak seen iifname west ip daddr 10.0.0.0/8 counter"])
        self.addCleanup(router.run, ["nft", "delete table ip leak"])
        client = self.client("west-client", "vip", self.vips, "--connections", 50)
        client.wait_open(50)
        gateway = self.fleet.gateways["west-1"]
        gateway.kill()
        steady = SteadyPing(self.fleet, self.fleet.pod("west", "client"), pod("north-web-0").ipv4, "leak-west")
        time.sleep(DOWN_SECONDS)
        sent, answered = steady.stop()
        self.assertGreater(sent, 50)
        self.assertEqual(answered, 0)
        counted = re.search(r"packets (\d+)", router.run(["nft", "list table ip leak"]).stdout).group(1)
        self.assertEqual(counted, "0")
        gateway.start()
        wait_until(lambda: self.fleet.pod("west", "client").run(
            ["ping", "-c1", "-W1", pod("north-web-0").ipv4], check=False).returncode == 0, what="west reaches north")


if __name__ == "__main__":
    unittest.main()
