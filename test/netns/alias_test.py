"""Two clusters whose pods have the same addresses, all of them: each calls the other's by their aliases."""

import json
import time
import unittest

from errors_test import ASK
from fleet_case import PROGRAM, FleetCase, addresses, backends, plan, pod, url, wait_until
from fleet.numbered import SETTLED
from fleet.shell import run
from fleet.traffic import curl, curl_many, ping
from kernel_flows_test import HandedDown

PAIRS = (("west", "south"), ("south", "west"), ("east", "south"), ("south", "north"), ("north", "west"))
EQUAL = (("west-client", "south-web-0"), ("south-client", "west-web-0"))


class Overlapping(FleetCase):
    clusters = plan.OVERLAPPING

    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(setattr, plan, "CLUSTERS", plan.CLUSTERS)
        plan.CLUSTERS = cls.clusters
        return super().make_fleet()

    def client(self, cluster):
        return self.fleet.pod(cluster, "client")

    def fetch(self, source, target, index=0):
        """What a server of `target` says to the client of `source`."""
        address = pod(f"{target}-web-0").seen_from(source)[index]
        return curl(self.client(source), url(address, plan.cluster(target).http_port))

    def refused(self, name, address):
        """What becomes of a datagram to a port on which nobody listens."""
        return self.fleet.pod(*name.split("-", 1)).run(
            ["/usr/bin/python3", "-c", ASK, "udp", address, "4711"]).stdout.strip()


class Direct(Overlapping):
    def test_pods_with_equal_addresses_reach_each_other(self):
        self.assertEqual(pod("west-web-0").ipv4, pod("south-web-0").ipv4)
        self.assertEqual(pod("west-client").ipv6, pod("south-client").ipv6)
        for source, target in PAIRS:
            server = pod(f"{target}-web-0")
            for index, seen in enumerate(pod(f"{source}-client").seen_from(target)):
                self.assertTrue(ping(self.client(source), server.seen_from(source)[index]), (source, target))
                status, body = self.fetch(source, target, index)
                self.assertEqual((status, body.split()), (0, [server.full_name, seen]), (source, target))
        self.assertEqual(self.checksum_errors(), {})

    def test_a_pod_reaches_its_own_cluster_by_aliases_too(self):
        server = pod("south-web-1")
        for address, seen in ((server.alias_ipv4, pod("south-client").alias_ipv4),
                              (server.alias_ipv6, pod("south-client").alias_ipv6)):
            status, body = curl(self.client("south"), url(address, plan.cluster("south").http_port))
            self.assertEqual((status, body.split()), (0, [server.full_name, seen]), address)

    def test_icmp_errors_find_who_has_sent(self):
        for source, target in EQUAL:
            for address in pod(target).seen_from(source.split("-")[0]):
                self.assertEqual(self.refused(source, address), "ECONNREFUSED", (source, target, address))

    def test_a_nodes_address_among_those_of_pods_is_translated_too(self):
        """Which is also the source of the errors that the node sends."""
        for address in ("10.104.1.1", "10.102.1.1"):
            self.assertTrue(ping(self.client("east"), address), address)
        node = self.fleet.node("west", "node1")
        node.ip("route add unreachable 10.2.1.200/32")
        self.addCleanup(node.ip, "route del unreachable 10.2.1.200/32")
        said = self.client("east").run(["ping", "-n", "-c", "1", "-W", "2", "10.102.1.200"], check=False).stdout
        self.assertRegex(said, r"From 10\.102\.1\.1 .*Unreachable")

    def test_own_addresses_do_not_pass_from_outside_nor_aliases_from_inside(self):
        node = self.fleet.node("south", "node1")
        client = self.client("south")
        client.ip("addr add 10.104.1.77/32 dev eth0")
        self.addCleanup(client.ip, "addr del 10.104.1.77/32 dev eth0")
        node.run(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0"])
        before = self.drops("south-1").get("alias_mismatch", 0)
        client.run(["ping", "-c", "3", "-i", "0.1", "-W", "1", "-I", "10.104.1.77", pod("east-web-0").ipv4],
                   check=False)
        self.assertGreaterEqual(self.drops("south-1").get("alias_mismatch", 0) - before, 3, self.drops("south-1"))

    def test_views_show_both_addresses(self):
        gateway = self.fleet.gateways["south-1"]
        server, client = pod("south-web-0"), pod("west-client")
        self.assertTrue(ping(self.client("west"), server.alias_ipv4))
        rows = [row for row in gateway.query("endpoints")["endpoints"] if row["address"] == server.alias_ipv4]
        self.assertEqual([row["own_address"] for row in rows], [server.ipv4])
        rows = [row for row in gateway.query("connections", "--address", client.alias_ipv4)["connections"]
                if row["frontend"] == server.alias_ipv4]
        self.assertEqual({row["backend"] for row in rows}, {server.ipv4}, rows)
        aliases = [(row["own"], row["alias"]) for row in gateway.status()["aliases"] if row["cluster"] == "south"]
        self.assertEqual(aliases, [("10.2.0.0/16", "10.104.0.0/16"), ("fd00:2::/48", "fd00:104::/48")])
        lines = run([PROGRAM, "flows", "-o", "json", "--socket", gateway.socket]).stdout.splitlines()
        flows = [line["flow"] for line in map(json.loads, lines) if "flow" in line]
        there = [flow for flow in flows if flow.get("IP", {}).get("source") == client.alias_ipv4]
        self.assertEqual({flow["destination"]["pod_name"] for flow in there}, {"web-0"}, there)
        back = [flow for flow in flows if flow.get("IP", {}).get("source") == server.ipv4]
        self.assertEqual({(flow["source"]["pod_name"], flow["IP"]["source_xlated"]) for flow in back},
                         {("web-0", server.alias_ipv4)}, back)
        for flow, end in [(flow, "destination") for flow in there] + [(flow, "source") for flow in back]:
            self.assertEqual(flow["extensions"]["value"][end], {"own": server.ipv4, "alias": server.alias_ipv4}, flow)
        self.assertEqual({flow["extensions"]["value"]["source"]["own"] for flow in there}, {client.ipv4}, there)
        listed = gateway.query("connections", "--address", server.alias_ipv4)["connections"]
        ends = {tuple(map(row.get, ("client", "client_own", "backend", "backend_alias"))) for row in listed}
        self.assertIn((client.alias_ipv4, client.ipv4, server.ipv4, server.alias_ipv4), ends, listed)
        self.assertIn(f"(alias {server.alias_ipv4})", run([PROGRAM, "connections", "--socket", gateway.socket]).stdout)
        self.assertIn(f"alias {server.ipv4}={server.alias_ipv4}",
                      run([PROGRAM, "flows", "--socket", gateway.socket]).stdout)

    def test_an_alias_that_changes_is_followed(self):
        self.addCleanup(self.publish, plan.OVERLAPPING)
        other = tuple(plan.replace(each, alias=105) if each.name == "south" else each for each in plan.OVERLAPPING)
        self.publish(other)
        self.fleet.node("north", "node1").ip(
            f"route add 10.105.0.0/16 via {plan.cluster('north').node_ipv4(plan.cluster('north').node('gw'))}")
        for source in ("west", "east", "north"):
            wait_until(lambda at=source: ping(self.client(at), "10.105.1.10"), 20, what=f"{source} uses the new alias")
            self.assertFalse(ping(self.client(source), "10.104.1.10"), source)

    def publish(self, clusters):
        plan.CLUSTERS = clusters
        self.fleet.hub.write_fleet()
        plan.CLUSTERS = plan.OVERLAPPING

    def test_the_remedy_of_an_overlap_is_a_command(self):
        """Blocks from pools: those that the nodes have routes to."""
        self.addCleanup(self.publish, plan.OVERLAPPING)
        self.publish(tuple(plan.replace(each, alias=0) for each in plan.OVERLAPPING))

        def said(name, words):
            return [row for row in self.fleet.gateways[name].status()["problems"]
                    if words in row["what"] + row["fix"]]
        command = f"isthmus allocate --alias south --hub {self.fleet.hub.folder} --pool"
        wait_until(lambda: said("east-1", command), 20, what="the remedy is named")
        self.assertFalse(ping(self.client("west"), "10.104.1.10"))
        for name, net in (("south", 104), ("west", 102)):
            blocks = [f"10.{net}.0.0/16", f"fd00:{net}::/48"]
            words = [PROGRAM, "allocate", "--alias", name, "--hub", self.fleet.hub.folder,
                     *(word for block in blocks for word in ("--pool", block))]
            self.assertEqual(run([*words, "--dry-run"]).stdout.split(), blocks)
            self.assertEqual(run(words).stdout.split(), blocks)
            self.addCleanup(self.fleet.hub.remove, f"fleet/alias-{name}.yaml")
            self.assertEqual(run(words).stdout.split(), blocks)
        for source, target in EQUAL:
            for address in pod(target).seen_from(source.split("-", maxsplit=1)[0]):
                wait_until(lambda at=source.split("-", maxsplit=1)[0], to=address: ping(self.client(at), to), 20,
                           what=f"{source} reaches {address}")
        wait_until(lambda: not said("east-1", "overlaps"), 20, what="nothing overlaps")

    def test_overlap_without_an_alias_is_named_with_its_remedy(self):
        self.addCleanup(self.publish, plan.OVERLAPPING)
        self.publish(tuple(plan.replace(each, alias=0) if each.name == "south" else each
                           for each in plan.OVERLAPPING))
        for name, what in (("west-1", "overlaps 10.2.0.0/16 of this cluster's own pods"),):
            def said(at=name, text=what):
                return [row for row in self.fleet.gateways[at].status()["problems"]
                        if text in row["what"] and "aliasCIDRs" in row["what"] + row["fix"]]
            wait_until(said, 20, what=f"{name} says: {what}")
        self.assertEqual(self.fetch("west", "east")[0], 0, "what does not overlap goes on")


class ByService(Overlapping):
    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global(plan.CLUSTERS)

    def test_backends_of_all_clusters_answer_everybody(self):
        expected = {entry.full_name for entry in backends()}
        for source in ("west", "south", "east"):
            for vip in self.vips:
                answers = curl_many(self.client(source), url(vip, 80), 120)
                self.assertEqual(answers["-"], 0, (source, vip, self.drops()))
                self.assertEqual(set(answers) - {"-"}, expected, (source, vip))
        self.assertEqual(self.checksum_errors(), {})

    def test_a_ping_of_a_vip_is_answered_by_the_clients_own_gateway(self):
        """From a pod of each kind of cluster: behind two gateways, with aliases, and behind a gateway of one device."""
        for source in ("east", "west", "south", "north"):
            own = [name for name in self.fleet.gateways if name.startswith(source)]

            def answered(names=own):
                return sum(self.fleet.gateways[name].status()["packets"]["echo_answered"] for name in names)
            for vip in self.vips:
                for size, frames in ((56, 1), (1000, 1), (3000, 3)):
                    before = answered()
                    times = ping(self.client(source), vip, 4, size)
                    self.assertEqual(len(times or ()), 4, (source, vip, size, self.drops()))
                    self.assertEqual(answered() - before, 4 * frames, (source, vip, size))
        self.assertEqual(self.checksum_errors(), {})

    def test_all_gateways_list_the_same_backends(self):
        for gateway in self.fleet.live():
            listed = {row["address"] for port in gateway.query("services", "--service", "shop/web")["frontends"]
                      for row in port["backends"]}
            self.assertEqual(listed, set(addresses(backends())), gateway.name)


class Kept(HandedDown, Overlapping):
    """Numbered flows between pods with equal addresses, handed down to XDP on both sides, lose nothing."""

    gateways = ("west-1", "south-1")

    @classmethod
    def prepare(cls):
        """There is no service."""

    def test_settled_flows_are_forwarded_in_the_kernel_and_outlive_a_kill(self):
        pairs = self.handed_down(*((source, target, pod(target).seen_from(source.split("-")[0])[index])
                                   for index, (source, target) in enumerate(EQUAL)))
        before = [self.forwarded(name) for name in self.gateways]
        time.sleep(1)
        for name, then in zip(self.gateways, before):
            self.assertGreater(self.forwarded(name) - then, 500, name)
        gateway = self.fleet.gateways["south-1"]
        gateway.kill()
        time.sleep(2)
        gateway.start()
        self.fleet.wait_peers(timeout=150)
        self.assertEqual(gateway.status()["connections"]["start"], "adopted")
        self.wait_handed_down("south-1", len(SETTLED) * len(pairs))
        sent = self.assert_complete(pairs)
        for name in self.gateways:
            self.assert_counted(name, sent)


if __name__ == "__main__":
    unittest.main()
