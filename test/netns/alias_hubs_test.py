"""What an etcd and an API server say of clusters whose pods have the same addresses is read by their aliases."""

import json
import unittest

from alias_test import EQUAL, PAIRS, Overlapping
from fleet_case import addresses, backends, plan, pod, url, wait_until
from fleet import kubernetes, mesh
from fleet.traffic import curl_many, ping
from kubernetes_test import VIPS, KubernetesHub

INNER, HEALTH = 254, 253  # of a node among its pods: Cilium's router, and its health endpoint
ALIASED = ("west", "south")


def at_node1(cluster, last, alias=True):
    """An address among the pods of the cluster's node1."""
    entry = plan.cluster(cluster)
    return f"10.{entry.alias if alias else entry.pod_net}.1.{last}"


class Read(Overlapping):
    def rows(self, name):
        """What a gateway has of endpoints: {address: (own address, cluster, name, identity)}"""
        return {row["address"]: (row["own_address"], row["cluster"], row["name"], row["identity"])
                for row in self.fleet.gateways[name].query("endpoints")["endpoints"]}

    def pods_of(self, *clusters):
        return {fleet: (own, entry.cluster, f"shop/{entry.name}", entry.identity)
                for cluster in clusters for entry in plan.cluster(cluster).pods()
                for own, fleet in zip((entry.ipv4, entry.ipv6), entry.fleet_addresses)}

    def wait_row(self, name, address, there=True):
        wait_until(lambda: (address in self.rows(name)) == there, 20, what=f"{name} has {address}: {there}")
        return self.rows(name).get(address)

    def assert_nothing_by_own_addresses(self, name):
        self.assertEqual([address for address in self.rows(name) if address.startswith(("10.2.", "fd00:2:"))], [])

    def assert_all_answer(self, vips, family_names):
        for vip, expected in zip(vips, family_names):
            for source in ("south", "west", "east"):
                answers = curl_many(self.client(source), url(vip, 80), 120)
                self.assertEqual((answers["-"], set(answers) - {"-"}), (0, expected(source)), (source, vip))


class FromEtcd(Read):
    hub = "etcd"

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global(plan.CLUSTERS)
        for name in ALIASED:
            cluster = plan.cluster(name)
            value = mesh.node_value(cluster, cluster.node("node1"))
            value["IPAddresses"].append({"Type": "CiliumInternalIP", "IP": at_node1(name, INNER, False)})
            value["IPv4HealthIP"] = at_node1(name, HEALTH, False)
            cls.fleet.hub.published[name][f"cilium/state/nodes/v1/{name}/{name}-node1"] = json.dumps(value)
            cls.fleet.hub.publish(cluster)

    def test_every_pod_of_an_ip_cache_is_known_by_its_alias(self):
        expected = self.pods_of("east", "west", "north", "south")
        for gateway in self.fleet.live():
            wait_until(lambda at=gateway.name: expected.items() <= self.rows(at).items(),
                       what=f"{gateway.name} has all")
            self.assert_nothing_by_own_addresses(gateway.name)

    def test_nodes_addresses_among_those_of_pods_are_too(self):
        for reader, name in (("east-1", "west"), ("north-1", "south"), ("south-1", "west"), ("west-1", "south")):
            for last in (INNER, HEALTH):
                row = self.wait_row(reader, at_node1(name, last))
                self.assertEqual(row[:2], (at_node1(name, last, False), name), (reader, last))

    def test_a_service_has_the_backends_of_all_clusters(self):
        for gateway in self.fleet.live():
            self.assertEqual(gateway.usable_backends("shop/web"), set(addresses(backends())), gateway.name)
        everybody = {entry.full_name for entry in backends()}
        self.assert_all_answer(self.vips, 2 * (lambda source: everybody,))
        for source, target in PAIRS:
            self.assertTrue(ping(self.client(source), pod(f"{target}-web-0").seen_from(source)[0]), (source, target))

    def test_an_entry_that_comes_and_goes_is_followed(self):
        etcd, west = self.fleet.hub.etcds["west"], plan.cluster("west")
        own = at_node1("west", 77, False)
        key = f"cilium/state/ip/v1/default/{own}"
        self.addCleanup(lambda: etcd.write({}, [key]))
        etcd.write({key: json.dumps({**mesh.address_value(west, pod("west-client"), own), "K8sPodName": "late"})})
        for reader in ("south-1", "east-2"):
            self.assertEqual(self.wait_row(reader, at_node1("west", 77)),
                             (own, "west", "shop/late", pod("west-client").identity))
        etcd.write({}, [key])
        for reader in ("south-1", "east-2"):
            self.wait_row(reader, at_node1("west", 77), False)


class FromApiServers(Read):
    """Its own cluster's objects a gateway has from that cluster's API server, and what others export from the hub."""

    hub = KubernetesHub

    @classmethod
    def make_fleet(cls):
        kinds = kubernetes.OWN_KINDS["cilium.io/v2"]
        kubernetes.OWN_KINDS["cilium.io/v2"] = kinds + ("CiliumNode",)
        cls.addClassCleanup(kubernetes.OWN_KINDS.__setitem__, "cilium.io/v2", kinds)
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        cls.fleet.hub.claim(VIPS)
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster)
        for gateway in cls.fleet.live():
            cls.fleet.wait_backends("shop/web", cls.expected_backends(gateway.gateway.cluster), 30, [gateway])

    @staticmethod
    def expected_backends(cluster):
        """Of other clusters the Fleet hub has IPv4 only."""
        return {address for entry in backends()
                for address in entry.fleet_addresses[:2 if entry.cluster == cluster else 1]}

    def test_its_own_pods_are_known_by_their_aliases(self):
        for name in ALIASED:
            reader, expected = f"{name}-1", self.pods_of(name)
            wait_until(lambda at=reader, of=expected: of.items() <= self.rows(at).items(),
                       what=f"{reader} has its pods")
            self.assert_nothing_by_own_addresses(reader)

    def test_its_own_nodes_addresses_among_those_of_pods_are_too(self):
        cluster = plan.cluster("south")
        self.fleet.hub.servers["south"].put({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "south-node1"},
            "spec": {"addresses": [{"type": "InternalIP", "ip": cluster.node_ipv4(cluster.node("node1"))},
                                   {"type": "CiliumInternalIP", "ip": at_node1("south", INNER, False)}],
                     "health": {"ipv4": at_node1("south", HEALTH, False)},
                     "ipam": {"podCIDRs": list(cluster.pod_subnets(cluster.node("node1")))}}})
        for last in (INNER, HEALTH):
            row = self.wait_row("south-1", at_node1("south", last))
            self.assertEqual(row[:2], (at_node1("south", last, False), "south"))

    def test_a_pod_that_comes_and_goes_is_followed(self):
        server, own = self.fleet.hub.servers["south"], at_node1("south", 77, False)
        item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "namespace": "shop"},
                "spec": {"nodeName": "south-node1"}, "status": {"podIP": own, "podIPs": [{"ip": own}]}}
        server.put(item)
        self.assertEqual(self.wait_row("south-1", at_node1("south", 77))[:3], (own, "south", "shop/late"))
        server.remove(kubernetes.identify(item))
        self.wait_row("south-1", at_node1("south", 77), False)

    def test_slices_are_read_by_the_aliases_of_whose_they_are(self):
        everybody = {entry.full_name for entry in backends()}
        self.assert_all_answer(VIPS, (lambda source: everybody,
                                      lambda source: {entry.full_name for entry in backends(source)}))
        for source, target in EQUAL:
            cluster = source.split("-", maxsplit=1)[0]
            self.assertTrue(ping(self.client(cluster), pod(target).seen_from(cluster)[0]), (source, target))


if __name__ == "__main__":
    unittest.main()
