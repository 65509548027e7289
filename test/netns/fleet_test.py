"""The quickstart's fleet, with assertions: pod-to-pod traffic, the global service, failure and recovery."""

import collections
import time
import unittest

from fleet_case import FleetCase, addresses, backends, plan, pod, url, wait_until
from fleet.traffic import NAME, SteadyRequests, curl, curl_many, failover, ping, resolves

UDP_CLIENT = """
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
for i in range(40):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.connect((sys.argv[1], 7))
        s.send(b'x' * 900)
        name, body = s.recv(2000).split(b' ', 1)
        assert body == b'x' * 900
        print(name.decode())
"""
CLIENTS = ("east-client", "east-client3", "west-client", "north-client")


class PodToPod(FleetCase):
    """Pods reach pods of other clusters by pod address."""

    def pairs(self):
        for name in CLIENTS:
            for target in backends():
                if target.cluster != name.split("-")[0]:
                    yield name, target

    def client(self, name):
        cluster, client = name.split("-", 1)
        return self.fleet.pod(cluster, client)

    def test_every_client_pings_every_backend_of_other_clusters(self):
        lost = [(name, address) for name, target in self.pairs() for address in (target.ipv4, target.ipv6)
                if not ping(self.client(name), address)]
        self.assertEqual(lost, [])

    def test_every_backend_answers_http_and_sees_the_clients_own_address(self):
        wrong = []
        for name, target in self.pairs():
            own = pod(name)
            for address, seen in ((target.ipv4, own.ipv4), (target.ipv6, own.ipv6)):
                status, body = curl(self.client(name), url(address, plan.cluster(target.cluster).http_port))
                if (status, body.split()) != (0, [target.full_name, seen]):
                    wrong.append((name, target.full_name, address, status, body))
        self.assertEqual(wrong, [])

    def test_replies_through_the_other_gateway_are_delivered_or_counted(self):
        """West chooses one of east's gateways per connection; replies from east's node3 use either one."""
        target = pod("east-web-2")
        before = self.drops()
        sent = 40
        answers = curl_many(self.fleet.pod("west", "client"), url(target.ipv4, plan.cluster("east").http_port), sent)
        counted = sum(self.drops().values()) - sum(before.values())
        print(f"      . replies through either gateway of east: {answers[target.full_name]} of {sent} connections "
              f"delivered, {counted} packets dropped and counted")
        if answers["-"]:
            self.assertGreaterEqual(counted, answers["-"], "a connection failed without a counted drop")
        self.assertEqual(sum(answers.values()), sent)
        used = [name for name in ("east-1", "east-2")
                if self.fleet.gateways[name].status()["packets"]["decapsulated"] > 0]
        self.assertEqual(used, ["east-1", "east-2"], "traffic did not use both gateways of east")

    def test_large_bodies_arrive_unchanged_in_both_directions(self):
        target = pod("north-web-0")
        body = "".join(f"{i:07d}\n" for i in range(125000))  # 1 MB
        path = f"{self.fleet.folder}/body"
        with open(path, "w", encoding="ascii") as file:
            file.write(body)
        for address in (target.ipv4, target.ipv6):
            status, answer = curl(self.fleet.pod("west", "client"), url(address, plan.cluster("north").http_port),
                                  "--data-binary", f"@{path}", timeout=60)
            self.assertEqual(status, 0, answer)
            self.assertTrue(answer == body, "the body changed in transit")
        self.assertEqual(self.checksum_errors(), {})

    def test_the_nodes_own_traffic_is_left_to_the_kernel(self):
        """Node to node and pod to pod within a cluster: no gateway receives it."""
        before = {name: gateway.status()["packets"]["rx"] for name, gateway in self.fleet.gateways.items()}
        self.assertTrue(ping(self.fleet.node("east", "node1"), "203.0.113.11", count=5))
        self.assertTrue(ping(self.fleet.node("west", "node1"), "fd00:ee:3::11", count=5))
        self.assertTrue(ping(self.fleet.pod("east", "client"), pod("east-web-2").ipv4, count=5))
        dropped = self.drops()
        self.assertNotIn("no_route", dropped)
        self.assertTrue(all(gateway.status()["packets"]["rx"] - before[name] < 2000
                            for name, gateway in self.fleet.gateways.items()))


class GlobalService(FleetCase):
    """shop/web: one VIP per family for the backends of all clusters."""

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()

    def ask(self, name, count=40, family="-4"):
        cluster, client = name.split("-", 1)
        return curl_many(self.fleet.pod(cluster, client), f"http://{NAME}/", count, family)

    def test_its_name_resolves_to_its_addresses_in_every_cluster(self):
        for name in CLIENTS:
            netns = self.fleet.pod(*name.split("-", 1))
            wait_until(lambda netns=netns: resolves(netns) == sorted(self.vips), what=f"{NAME} resolves for {name}")

    def test_every_client_is_answered_by_backends_of_all_clusters(self):
        for family in ("-4", "-6"):
            for name in CLIENTS:
                with self.subTest(client=name, family=family):
                    answers = self.ask(name, 60, family)
                    self.assertEqual(answers["-"], 0, f"failed requests; drops {self.drops()}")
                    clusters = {backend.split("-")[0] for backend in answers if backend != "-"}
                    self.assertEqual(clusters, {"east", "west", "north"})

    def test_udp_reaches_backends_of_all_clusters(self):
        seen = collections.Counter()
        for vip in self.vips:
            done = self.fleet.pod("west", "client").run(["/usr/bin/python3", "-c", UDP_CLIENT, vip])
            seen.update(done.stdout.split())
        self.assertEqual({name.split("-")[0] for name in seen}, {"east", "west", "north"})
        self.assertEqual(sum(seen.values()), 80)

    def test_a_removed_backend_gets_no_new_connections(self):
        east = plan.cluster("east")
        remaining = [entry for entry in backends() if entry.full_name != "east-web-1"]
        self.fleet.hub.write_service(east, backends=[entry for entry in remaining if entry.cluster == "east"])
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, east)
        self.fleet.wait_backends("shop/web", addresses(remaining))
        answers = self.ask("west-client", 80)
        self.assertEqual((answers["-"], answers["east-web-1"]), (0, 0))

    def test_a_drained_cluster_gets_no_new_connections(self):
        north = plan.cluster("north")
        self.fleet.hub.write_service(north, drained=True)
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, north)
        self.fleet.wait_backends("shop/web", addresses(backends("east") + backends("west")))
        answers = self.ask("east-client", 60)
        self.assertEqual(answers["-"], 0)
        self.assertFalse([name for name in answers if name.startswith("north")])

    def test_local_affinity_keeps_connections_in_the_clients_cluster(self):
        west = plan.cluster("west")
        self.fleet.hub.write_service(west, annotations={"service.cilium.io/affinity": "local"})
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, west)
        self.fleet.wait_backends("shop/web", addresses(backends("west")), gateways=[self.fleet.gateways["west-1"]])
        answers = self.ask("west-client", 60)
        self.assertEqual({name.split("-")[0] for name in answers if answers[name]}, {"west"})

    def test_backends_of_an_unshared_service_are_not_used_by_other_clusters(self):
        east = plan.cluster("east")
        self.fleet.hub.write_service(east, annotations={"service.cilium.io/shared": "false"})
        self.addCleanup(self.fleet.wait_backends, "shop/web", addresses(backends()))
        self.addCleanup(self.fleet.hub.write_service, east)
        self.fleet.wait_backends("shop/web", addresses(backends("west") + backends("north")),
                                 gateways=[self.fleet.gateways["west-1"]])
        answers = self.ask("west-client", 60)
        self.assertEqual(answers["-"], 0)
        self.assertFalse([name for name in answers if name.startswith("east")])

    def test_an_invalid_manifest_is_reported_and_changes_nothing_else(self):
        self.fleet.hub.write("clusters/east/broken.yaml", ["kind: Service\nmetadata: {name: [\n"])
        self.addCleanup(self.fleet.hub.remove, "clusters/east/broken.yaml")
        gateway = self.fleet.gateways["west-1"]

        def reported():
            return any("broken.yaml" in row["where"] for row in gateway.status()["problems"])
        wait_until(reported, what="the invalid manifest is reported")
        self.assertEqual(self.ask("west-client", 20)["-"], 0)


class Failover(FleetCase):
    """Gateways are killed and restarted."""

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()

    def test_traffic_fails_over_from_an_unreachable_cluster_and_returns_to_it(self):
        traffic = SteadyRequests(self.fleet.pod("east", "client"), self.vips[0], 80, f"{self.fleet.folder}/steady.log")
        self.addCleanup(traffic.stop)
        wait_until(lambda: len(traffic.rows()) > 50, what="traffic")
        event = time.monotonic()
        self.fleet.gateways["west-1"].kill()
        self.fleet.wait_cluster_unreachable("west")
        self.fleet.wait_backends("shop/web", addresses(backends("east") + backends("north")))
        # Requests already in flight may still fail; the next 50 must not.
        settled = time.monotonic() + 1.0
        wait_until(lambda: sum(row[0] > settled for row in traffic.rows()) > 50, what="traffic after the failover")
        rows = traffic.rows()
        failed, seconds = failover(rows, event)
        print(f"      . failover from west: {seconds * 1000:.0f} ms, {failed} requests failed")
        self.assertEqual([row for row in rows if row[0] > settled and (row[3] != "-" or row[2].startswith("west"))], [])

        self.fleet.gateways["west-1"].start()
        self.fleet.wait_peers()
        self.fleet.wait_backends("shop/web", addresses(backends()))
        recovered = time.monotonic()
        wait_until(lambda: any(row[0] > recovered and row[2].startswith("west") for row in traffic.rows()),
                   what="requests answered by west")
        self.assertEqual([row for row in traffic.rows() if row[0] > settled and row[3] != "-"], [])

    def test_a_cluster_stays_reachable_through_its_remaining_gateway(self):
        client = self.fleet.pod("west", "client")
        target = pod("east-web-1")  # on node2, with the remaining gateway
        self.fleet.gateways["east-1"].kill()
        self.addCleanup(self.fleet.wait_peers)
        self.addCleanup(self.fleet.gateways["east-1"].start)
        west = self.fleet.gateways["west-1"]
        wait_until(lambda: "east-1" not in west.live_peers(), what="west detects the failure")
        answers = curl_many(client, url(target.ipv4, plan.cluster("east").http_port), 40)
        self.assertEqual(answers[target.full_name], 40)


if __name__ == "__main__":
    unittest.main()
