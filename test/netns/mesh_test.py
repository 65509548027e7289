"""A fleet over a ClusterMesh: an etcd with mutual TLS and least privilege in each cluster. Also: outages of an etcd
under traffic."""

import json
import signal
import unittest

from fleet_case import FleetCase, SteadyTraffic, addresses, backends, plan, pod, url, wait_until
from fleet.etcd import READER
from fleet.policies import cilium_policy, peers, policy_file
from fleet.traffic import answered_by_all, curl, curl_many, ping


class Mesh(SteadyTraffic, FleetCase):
    hub = "etcd"

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()
        cls.east = cls.fleet.gateways["east-1"]
        cls.west = cls.fleet.hub.etcds["west"]

    def event_waiter(self, more=1):
        """A function that waits until east has received `more` further changes of west."""
        before = self.east.hub_part("west")["events"]
        return lambda: wait_until(lambda: self.east.hub_part("west")["events"] >= before + more, what="changes of west")


class Basics(Mesh):
    def test_pods_reach_pods_of_other_clusters_by_both_families(self):
        target = pod("west-web-0")
        for address in (target.ipv4, target.ipv6):
            self.assertIsNotNone(ping(self.fleet.pod("east", "client"), address, count=1))
            status, body = curl(self.fleet.pod("north", "client"), url(address, plan.cluster("west").http_port))
            self.assertEqual((status, body.split()[:1]), (0, ["west-web-0"]))

    def test_a_global_service_is_balanced_over_the_backends_of_all_clusters(self):
        for cluster in plan.CLUSTERS:
            seen = curl_many(self.fleet.pod(cluster.name, "client"), url(self.vips[0], 80), 60, "-4")
            self.assertEqual(seen["-"], 0, seen)
            self.assertEqual({name.split("-")[0] for name in seen if seen[name]}, {"east", "west", "north"}, seen)

    def test_a_removed_backend_gets_no_new_connections(self):
        west = plan.cluster("west")
        self.addCleanup(lambda: (self.fleet.hub.write_service(west),
                                 self.fleet.wait_backends("shop/web", addresses(backends()))))
        remaining = [entry for entry in backends("west") if entry.name != "web-1"]
        self.fleet.hub.write_service(west, backends=remaining)
        self.fleet.wait_backends("shop/web",
                                 addresses([entry for entry in backends() if entry.full_name != "west-web-1"]))
        seen = curl_many(self.fleet.pod("east", "client"), url(self.vips[0], 80), 60, "-4")
        self.assertEqual((seen["-"], seen["west-web-1"]), (0, 0), seen)

    def test_a_policy_selects_peers_by_labels_published_through_the_mesh(self):
        target = pod("east-web-0")
        address = url(target.ipv4, plan.cluster("east").http_port)

        def answered(cluster):
            return answered_by_all(self.fleet.pod(cluster, "client"), address)
        self.assertTrue(answered("west") and answered("north"))
        self.fleet.hub.write(policy_file("east", "web"), [
            cilium_policy("web", "web", f"  ingress:\n  - fromEndpoints: {peers('west', 'client')}\n")])
        try:
            wait_until(lambda: not answered("north"), timeout=30, what="the policy denies north's client")
            self.assertTrue(answered("west"))
        finally:
            self.fleet.hub.remove(policy_file("east", "web"))
        wait_until(lambda: answered("north"), timeout=30, what="the policy is removed")

    def test_endpoints_have_the_names_and_labels_published_through_the_mesh(self):
        target = pod("west-web-0")
        rows = self.east.query("endpoints", "--address", target.ipv4)["endpoints"]
        self.assertEqual([(row["cluster"], row["name"], row["identity"]) for row in rows],
                         [("west", "shop/web-0", target.identity)])
        self.assertIn("k8s:app=web", rows[0]["labels"])

    def test_the_gateways_of_a_cluster_are_the_backends_of_its_gateway_service(self):
        self.assertEqual({row["name"] for row in self.fleet.gateways["west-1"].status()["peers"] if row["gateway"]},
                         {"east-1", "east-2", "north-1"})

    def test_a_registered_gateway_is_a_peer_without_the_gateway_service(self):
        key = "cilium/state/isthmus/gateways/v1/west/west-1"
        service = "cilium/state/services/v1/west/kube-system/isthmus-gateway"
        registered = wait_until(lambda: self.west.ctl("get", "--print-value-only", key).stdout.strip(),
                                what="the registration of west-1")
        self.assertEqual(json.loads(registered)["underlay"], ["203.0.113.11"])
        self.addCleanup(self.fleet.hub.publish, plan.cluster("west"))
        wait_for_change = self.event_waiter()
        self.west.write({}, [service])
        wait_for_change()
        self.assertIn("west-1", {row["name"] for row in self.east.status()["peers"] if row["gateway"]})
        self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod("west-web-0").ipv4, count=1))

    def test_an_invalid_value_is_listed_with_its_key_and_affects_nothing_else(self):
        key = "cilium/state/ip/v1/default/10.2.1.77"
        foreign = {"IP": "10.2.1.77", "Mask": None, "HostIP": "203.0.113.11", "ID": 65537, "Key": 0, "Metadata": ""}
        self.addCleanup(lambda: self.west.write({}, [key]))
        self.west.write({key: json.dumps(foreign)})
        wait_until(lambda: any("10.2.1.77" in row["key"] for row in self.east.hub_part("west")["invalid"]),
                   what="the invalid value is listed")
        wait_until(lambda: any("10.2.1.77" in row["where"] + row["what"] for row in self.east.status()["problems"]),
                   what="it is reported as a problem")
        self.assertEqual(self.east.hub_part("west")["state"], "in sync")


class Outages(Mesh):
    """Outages of west's etcd under traffic; each test restores the mesh."""

    def test_traffic_continues_while_an_etcd_restarts(self):
        traffic = self.steady("killed")
        self.west.kill()
        self.east.wait_hub("west", "stale")
        self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod("west-web-0").ipv4, count=1))
        self.west.start()
        self.east.wait_hub("west", "in sync")
        self.assert_undisturbed(traffic)

    def test_traffic_continues_when_it_restarts_empty_with_another_cluster_id(self):
        traffic = self.steady("empty")
        connects = self.east.hub_part("west")["connects"]
        self.west.kill()
        self.east.wait_hub("west", "stale")
        self.west.start(empty=True)
        wait_until(lambda: self.east.hub_part("west")["last_error"] != "", what="the empty etcd is detected")
        self.assertIsNotNone(ping(self.fleet.pod("east", "client"), pod("west-web-0").ipv4, count=1))
        self.fleet.hub.publish(plan.cluster("west"))
        self.east.wait_hub("west", "in sync")
        self.assertGreater(self.east.hub_part("west")["connects"], connects)
        self.assert_undisturbed(traffic)

    def test_traffic_continues_while_an_etcd_hangs(self):
        traffic = self.steady("stopped")
        self.west.daemon.signal(signal.SIGSTOP)
        try:
            self.assert_undisturbed(traffic)
        finally:
            self.west.daemon.signal(signal.SIGCONT)
        west = plan.cluster("west")
        self.fleet.hub.write_service(west, backends=[])
        self.fleet.wait_backends("shop/web", addresses([entry for entry in backends() if entry.cluster != "west"]),
                                 timeout=60)
        self.fleet.hub.write_service(west)
        self.fleet.wait_backends("shop/web", addresses(backends()), timeout=60)

    def test_a_rotated_client_certificate_is_used_on_the_next_connection(self):
        traffic = self.steady("rotated")
        self.west.authority.sign(READER)
        connects = self.east.hub_part("west")["connects"]
        self.west.kill()
        self.east.wait_hub("west", "stale")
        self.west.start()
        self.east.wait_hub("west", "in sync")
        self.assertGreater(self.east.hub_part("west")["connects"], connects)
        self.assert_undisturbed(traffic)

    def test_a_gateway_that_starts_while_one_etcd_is_down_serves_the_other_clusters(self):
        west, gateway = self.west, self.fleet.gateways["north-1"]
        west.kill()
        self.assertEqual(gateway.stop(), 0)
        gateway.start(wait=False)
        wait_until(lambda: (gateway.query("status", check=False) or {}).get("state") == "serving", timeout=60,
                   what="north-1 serves without west's etcd")
        wait_until(lambda: ping(self.fleet.pod("north", "client"), pod("east-web-0").ipv4, count=1) is not None,
                   timeout=30, what="north reaches east")
        west.start()
        gateway.wait_hub("west", "in sync")
        self.fleet.wait_peers()
        self.assertIsNotNone(ping(self.fleet.pod("north", "client"), pod("west-web-0").ipv4, count=1))


if __name__ == "__main__":
    unittest.main()
