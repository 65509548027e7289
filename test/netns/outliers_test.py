"""Outlier ejection in the fleet with real listeners: a backend whose port is closed, one that drops SYNs."""

import unittest

from fleet_case import FleetCase, addresses, backends, plan, pod, url, wait_until
from fleet.hub import UDP_ECHO_PORT
from fleet.traffic import curl_many

GATEWAY = "north-1"
CLIENTS = ("north-client", "north-web-0", "north-web-1")  # all of them ask by that gateway
BROKEN = "west-web-0"
# A datagram from each of many ports; prints how many were answered.
ASK_UDP = """
import socket, sys
answered = 0
for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        s.connect((sys.argv[1], 7))
        try:
            s.send(b'x')
            answered += len(s.recv(100)) > 0
        except OSError:
            pass
print(answered)
"""
DROP_SYNS = """
table inet silence {{
    chain input {{
        type filter hook input priority 0
        tcp dport {port} tcp flags & (syn | ack) == syn drop
    }}
}}
"""
# Nothing of the gateway's passes between its cluster and the others.
CUT_OFF = """
table ip cut {{
    chain forward {{
        type filter hook forward priority 0
        ip saddr {gateway} ip daddr != {own} drop
        ip daddr {gateway} ip saddr != {own} drop
    }}
}}
"""


class Outliers(FleetCase):
    settings = {"services": "{outlier_ejection: {failures: 3, time: 20s}}"}

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()
        cls.broken = pod(BROKEN)
        cls.netns = cls.fleet.pod("west", cls.broken.name)

    def pod_netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    def backend_row(self, gateway=GATEWAY, protocol="TCP"):
        """What a gateway says of the broken backend in IPv4, as the text and as the JSON has it."""
        for row in self.fleet.gateways[gateway].query("services", "--service", "shop/web")["frontends"]:
            for backend in row["backends"]:
                if row["protocol"].upper() == protocol and backend["address"] == self.broken.ipv4:
                    return backend
        return None

    def is_ejected(self, protocol="TCP"):
        return self.backend_row(protocol=protocol)["state"] == "ejected"

    def ejections(self):
        return self.fleet.gateways[GATEWAY].status()["outliers"]

    def ask(self, count=20, timeout=2):
        """Of all clients: responses by backend; "-" counts failures."""
        total = {}
        for name in CLIENTS:
            for answer, times in curl_many(self.pod_netns(name), url(self.vips[0], 80), count, "--max-time",
                                           str(timeout), "-Z", "--parallel-immediate").items():
                total[answer] = total.get(answer, 0) + times
        return {name: times for name, times in total.items() if times}

    def ask_while_ejected(self):
        """The responses of a time in which the backend was left out from beginning to end."""
        def answers():
            before = self.backend_row().get("ejected_seconds")
            found = self.ask()
            after = self.backend_row().get("ejected_seconds")
            if before is None or after is None or after > before:
                self.ask(timeout=9)  # it has returned meanwhile
                return None
            return found
        return wait_until(answers, timeout=120, what="it is left out while clients ask")

    def assert_left_out_until_mended(self, mend):
        state = self.backend_row()
        self.assertEqual((state["state"], state["slots"]), ("ejected", 0))
        self.assertIn(state["ejected_seconds"], range(0, 321))
        self.assertEqual(self.ejections()["ejected"], 1)
        found = self.ask_while_ejected()
        self.assertEqual({name for name in ("-", BROKEN) if name in found}, set(), found)
        self.assertEqual(self.backend_row("east-1")["state"], "active", "each gateway goes by what it sees itself")
        mend()
        wait_until(lambda: not self.is_ejected(), timeout=120, what="it returns")
        wait_until(lambda: BROKEN in self.ask(), timeout=60, what="it is asked again")
        found = self.ask()
        self.assertNotIn("-", found)
        self.assertFalse(self.is_ejected())
        with open(self.fleet.gateways[GATEWAY].log, encoding="utf-8") as file:
            log = file.read()
        name = f"backend {self.broken.ipv4} port 8081 of west for service shop/web"
        self.assertIn(f"{name} takes no new connections", log)
        self.assertIn(f"{name} takes new connections again", log)

    def test_a_backend_whose_port_is_closed_is_left_out_until_it_listens(self):
        before = self.ejections()["ejections"]
        self.fleet.stop_server(BROKEN)
        self.addCleanup(self.fleet.serve, self.broken)
        wait_until(lambda: self.ask() and self.is_ejected(), timeout=60, what="it is left out")
        self.assertGreater(self.ejections()["ejections"], before)
        self.assertFalse(self.is_ejected("UDP"), "nobody has asked its other port")
        self.assert_left_out_until_mended(lambda: self.fleet.serve(self.broken))

    def test_a_backend_that_drops_syns_is_left_out_until_it_answers(self):
        self.netns.run(["nft", "-f", "-"], stdin=DROP_SYNS.format(port=plan.cluster("west").http_port))
        self.addCleanup(self.netns.run, ["nft", "delete table inet silence"], check=False)
        wait_until(lambda: self.ask(timeout=9) and self.is_ejected(), timeout=120, what="it is left out")
        self.assert_left_out_until_mended(lambda: self.netns.run(["nft", "delete table inet silence"]))

    def test_a_closed_udp_port_is_told_by_icmp(self):
        self.fleet.stop_server(BROKEN)
        self.addCleanup(self.fleet.serve, self.broken)

        def ask(count):
            return sum(int(self.pod_netns(name).run(["/usr/bin/python3", "-c", ASK_UDP, self.vips[0],
                                                     str(count)]).stdout) for name in CLIENTS)
        wait_until(lambda: ask(20) and self.is_ejected("UDP"), timeout=60, what="it is left out")
        self.assertFalse(self.is_ejected("TCP"))
        self.fleet.serve(self.broken)
        wait_until(lambda: not self.is_ejected("UDP"), timeout=120, what="it returns")
        wait_until(lambda: ask(20) == 20 * len(CLIENTS), timeout=60, what="all are answered")

    def test_an_outage_of_our_own_leaves_out_nobody(self):
        router, gateway = self.fleet.topology.namespaces["router"], self.fleet.gateways[GATEWAY]
        wait_until(lambda: not self.ejections()["ejected"], timeout=120, what="all are there")
        before = self.ejections()["ejections"]
        self.addCleanup(router.run, ["nft", "delete table ip cut"], check=False)
        router.run(["nft", "-f", "-"], stdin=CUT_OFF.format(gateway="192.0.2.11", own="192.0.2.0/24"))
        wait_until(lambda: gateway.status()["isolated"], timeout=30, what="all peers are silent")
        failed = 0
        while failed < 60:  # at each backend of the other clusters more often than it takes
            failed += self.ask().get("-", 0)
        router.run(["nft", "delete table ip cut"])
        wait_until(lambda: not gateway.status()["isolated"], timeout=30, what="they answer")
        wait_until(lambda: gateway.status()["connections"]["half_open"] == 0, timeout=90,
                   what="what nobody has answered expires, and is told of")
        self.assertNotIn("-", self.ask())
        self.assertEqual(self.ejections(), {"ejected": 0, "ejections": before})

    def test_a_service_may_be_left_alone(self):
        north, (_, *rest) = plan.cluster("north"), backends("north")
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, north)
        self.fleet.hub.write_service(north, annotations={"isthmus.io/outlier-ejection": "off"}, backends=rest)
        others = [entry for entry in backends() if entry.cluster != "north"]
        self.fleet.wait_backends("shop/web", addresses(others + rest))
        before = self.ejections()["ejections"]
        self.fleet.stop_server(BROKEN)
        self.addCleanup(self.fleet.serve, self.broken)
        failed = 0
        while failed < 30:
            failed += self.ask().get("-", 0)
        self.assertEqual((self.ejections()["ejections"], self.is_ejected()), (before, False))


if __name__ == "__main__":
    unittest.main()
