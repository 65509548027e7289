"""A cluster with aliases whose gateway reaches another node of it by VXLAN, as Cilium's nodes are reached.

South has a second node, without a gateway: its end of the tunnel is the kernel's VXLAN device in collect-metadata mode.
"""

import json
import unittest

import alias_test
from fleet_case import addresses, backends, plan, pod, url
from fleet.traffic import curl, curl_many, ping
from kernel_peer import inner_mac

DEVICE = "vxlan0"
FAR = ("web-1", "client2")  # the pods of that node
CLUSTERS = tuple(plan.replace(each, clients=("client", "client2"), nodes=(
    plan.Node("node1", 1, 11, pods=("web-0", "client")), plan.Node("node2", 2, 12, pods=FAR)))
    if each.name == "south" else each for each in plan.OVERLAPPING)


class DeliveredByTunnel(alias_test.Overlapping):
    clusters = CLUSTERS
    settings = {"delivery": {"south-1": "tunnel"}}

    @classmethod
    def prepare(cls):
        """Node2 sends what is for the fleet to its gateway's tunnel end, with the sender's identity."""
        south = plan.cluster("south")
        node, at = cls.fleet.node("south", "node2"), south.node_ipv4(south.node("node2"))
        node.ip(f"link add {DEVICE} type vxlan external dstport 8472 local {at} nolearning",
                f"link set {DEVICE} address {inner_mac(at)} mtu 1450 arp off", f"link set {DEVICE} up")
        for number, name in enumerate(FAR, 101):
            entry = pod(f"south-{name}")
            encap = f"encap ip id {entry.identity} dst {south.gateways[0].underlay} ttl 64 dev {DEVICE}"
            for family, source in (((), entry.ipv4), (("-6",), entry.ipv6)):
                routes = [prefix for prefix in (*plan.remote_prefixes("south"), *cls.own_prefixes())
                          if (":" in prefix) == (":" in source)]
                node.ip(f"rule add from {source} lookup {number}",
                        *(f"route add {prefix} table {number} {encap}" for prefix in routes), family=family)
        cls.vips = cls.make_global(plan.CLUSTERS)

    @staticmethod
    def own_prefixes():
        """What only the gateway knows: where it translates, and what the cluster's pods are called outside."""
        south = plan.cluster("south")
        return (f"{south.gateways[0].translation_ipv4}/32", f"{south.gateways[0].translation_ipv6}/128",
                *south.fleet_cidrs)

    def taken_by_vxlan(self):
        """Packets that node2 has received in tunnels."""
        links = self.fleet.node("south", "node2").run(["ip", "-json", "-stats", "link", "show", "dev", DEVICE]).stdout
        return json.loads(links)[0]["stats64"]["rx"]["packets"]

    def test_others_reach_pods_of_the_node_by_their_aliases(self):
        server = pod("south-web-1")
        before = self.taken_by_vxlan()
        for source in ("west", "east", "north"):
            for index, address in enumerate(server.fleet_addresses):
                self.assertTrue(ping(self.client(source), address), (source, address, self.drops()))
                status, body = curl(self.client(source), url(address, plan.cluster("south").http_port))
                seen = pod(f"{source}-client").fleet_addresses[index]
                self.assertEqual((status, body.split()), (0, [server.full_name, seen]), (source, self.drops()))
        self.assertGreater(self.taken_by_vxlan(), before)
        self.assertEqual(self.checksum_errors(), {})

    def test_pods_of_the_node_are_seen_by_their_aliases(self):
        entry, client = pod("south-client2"), self.fleet.pod("south", "client2")
        for target in ("west-web-0", "east-web-0", "north-web-0"):
            server = pod(target)
            for index, address in enumerate(server.fleet_addresses):
                self.assertTrue(ping(client, address), (target, address, self.drops()))
                status, body = curl(client, url(address, plan.cluster(server.cluster).http_port))
                self.assertEqual((status, body.split()), (0, [server.full_name, entry.fleet_addresses[index]]),
                                 (target, self.drops()))
        self.assertNotIn("alias_mismatch", self.drops())

    def test_services_reach_the_node_and_are_reached_from_it(self):
        for cluster, name in (("west", "client"), ("south", "client"), ("south", "client2")):
            for vip in self.vips:
                answers = curl_many(self.fleet.pod(cluster, name), url(vip, 80), 60)
                self.assertEqual(answers["-"], 0, (cluster, name, vip, answers, self.drops()))
                self.assertIn("south-web-1", answers, (cluster, name, vip))
                self.assertLessEqual(set(answers), {each.full_name for each in backends()} | {"-"})
        self.assertEqual(self.fleet.gateways["west-1"].usable_backends("shop/web"), set(addresses(backends())))

    def test_an_error_of_the_node_reaches_who_has_sent(self):
        for address in pod("south-web-1").fleet_addresses:
            self.assertEqual(self.refused("west-client", address), "ECONNREFUSED", address)
        for address in pod("west-web-0").fleet_addresses:
            self.assertEqual(self.refused("south-client2", address), "ECONNREFUSED", address)


if __name__ == "__main__":
    unittest.main()
