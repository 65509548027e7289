"""Settled flows that XDP programs forward, in both directions or one, lose nothing: they go on while their gateway is
dead, as long as it is configured, and when it comes back."""

import time
import unittest

from fleet_case import FleetCase, plan, pod, wait_until
from fleet.bpf_file_system import BpfFileSystem
from fleet.gateway import GatewayProcess
from fleet.numbered import AFTER, PORT, SETTLED, Numbered, west_and_north

PORTS = (("numbered", "TCP", PORT, PORT), ("numbered-udp", "UDP", PORT, PORT))
DOWN_SECONDS = 3.0


class HandedDown(Numbered):
    """Mix-in for a FleetCase: numbered packets of flows that are handed down at both of their gateways."""

    gateways = ("west-1", "north-1")

    @classmethod
    def make_fleet(cls):
        # With it, programs and maps of a dead gateway stay.
        cls.addClassCleanup(BpfFileSystem().close)
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        cls.vips = cls.fleet.allocate("shop/numbered")
        cls.behind = pod("north-web-1")
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster, "numbered", ports=PORTS,
                                        backends=[cls.behind] if cluster.name == "north" else [])
        cls.fleet.wait_backends("shop/numbered", [cls.behind.ipv4, cls.behind.ipv6])

    def traffic(self):
        """Out of west and into it, and to a service; over both families."""
        return self.handed_down(*west_and_north(), ("west-web-1", self.behind.full_name, self.vips[0]))

    def handed_down(self, *ends, **options):
        pairs = self.begin(*ends, kinds=SETTLED, **options)
        for name in self.gateways:
            self.wait_handed_down(name, len(SETTLED) * len(pairs))
        return pairs

    def wait_handed_down(self, name, count):
        gateway = self.fleet.gateways[name]
        status = {}

        def down():
            status.update(gateway.status())
            return status["handed_down"]["now"] >= count
        wait_until(down, timeout=30, what=f"{name} hands {count} connections down: {status}")

    def forwarded(self, name):
        return sum(device["forwarded_in_kernel"]["packets"] for device in self.fleet.gateways[name].status()["devices"])

    def assert_counted(self, name, sent):
        """A gateway has counted every number of the UDP flows both ways, whoever forwarded it."""
        rows = [(row["forward_packets"], row["reply_packets"])
                for row in self.fleet.gateways[name].query("connections")["connections"]
                if row["protocol"] == "udp" and row["frontend_port"] == PORT]
        self.assertEqual([flow for flow in sent if (flow["udp"],) * 2 not in rows], [], rows)


class KernelFlows(HandedDown, FleetCase):
    def end_and_restart(self, name, end):
        pairs = self.traffic()
        before = self.forwarded(name)
        time.sleep(1)
        self.assertGreater(self.forwarded(name) - before, 1000)
        gateway = self.fleet.gateways[name]
        end(gateway)
        time.sleep(DOWN_SECONDS)
        gateway.start()
        self.fleet.wait_peers(timeout=150)
        self.assertEqual(gateway.status()["connections"]["start"], "adopted")
        self.wait_handed_down(name, len(SETTLED) * len(pairs))
        time.sleep(AFTER)
        sent = self.assert_complete(pairs)
        for each in ("west-1", "north-1"):
            self.assert_counted(each, sent)

    def test_of_a_gateway_with_two_devices(self):
        self.end_and_restart("west-1", GatewayProcess.kill)

    def test_of_a_gateway_with_one_device(self):
        self.end_and_restart("north-1", GatewayProcess.kill)

    def test_of_a_gateway_that_is_stopped(self):
        self.end_and_restart("west-1", GatewayProcess.stop)


class OneDirection(HandedDown, FleetCase):
    settings = {"local_kernel_forwarding": "off"}

    def directions(self, name):
        """Of the connections to the numbered servers: from which side, and who has each direction."""
        return {(row["from"], row["forward_handed_down"], row["reply_handed_down"])
                for row in self.fleet.gateways[name].query("connections")["connections"]
                if row["frontend_port"] == PORT and row["state"] == "established"}

    def test_what_arrives_at_a_device_without_forwarding_stays_with_the_engine(self):
        pairs = self.traffic()
        for name, expected in (("west-1", {("local", False, True), ("fabric", True, False)}),
                               ("north-1", {("local", True, True), ("fabric", True, True)})):
            wait_until(lambda name=name, expected=expected: self.directions(name) == expected, timeout=10,
                       what=f"directions of {name} that are down: {self.directions(name)}")
        down = self.fleet.gateways["west-1"].status()["handed_down"]
        self.assertEqual((down["now"], down["one_way"]), (len(SETTLED) * len(pairs),) * 2)
        before = self.forwarded("west-1")
        time.sleep(1)
        self.assertGreater(self.forwarded("west-1") - before, 500)
        sent = self.assert_complete(pairs)
        for each in ("west-1", "north-1"):
            self.assert_counted(each, sent)


class WithoutEngine(HandedDown, FleetCase):
    settings = {"kernel_flow_hold": "3s"}

    def test_what_settled_flows_send_is_dropped_after_the_configured_time(self):
        pairs = self.traffic()
        router = self.fleet.topology.namespaces["router"]
        router.run(["nft", "add table inet clear; add chain inet clear seen { type filter hook forward priority 0; };"
                           f"add rule inet clear seen iifname west tcp dport {PORT} counter"])
        self.addCleanup(router.run, ["nft", "delete table inet clear"])
        gateway = self.fleet.gateways["west-1"]

        def arrived():
            return [pair.arrived() for pair in pairs]
        gateway.kill()
        before = arrived()
        wait_until(lambda: all(now > then + 50 for now, then in zip(arrived(), before)), what="flows go on")

        def ended():
            then = arrived()
            time.sleep(1)
            return arrived() == then
        wait_until(ended, timeout=30, what="nothing arrives any more")
        self.assertIn("packets 0 ", router.run(["nft", "list", "table", "inet", "clear"]).stdout)
        gateway.start()
        self.fleet.wait_peers(timeout=150)
        then = arrived()
        wait_until(lambda: all(now > before for now, before in zip(arrived(), then)), timeout=150,
                   what="flows go on with the gateway")


if __name__ == "__main__":
    unittest.main()
