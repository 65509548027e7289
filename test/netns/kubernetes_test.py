"""A fleet over Kubernetes: gateways watch their own cluster's API server and a Fleet hub over TLS. Also: endpoints
without labels, and restarts of the servers under traffic."""

import os
import time
import unittest

from fleet_case import BUILD, FleetCase, SteadyTraffic, addresses, backends, plan, pod, url, wait_until
from fleet.kubernetes import FLEET, NETWORKING, Kubernetes
from fleet.policies import cilium_policy, peers, policy_file
from fleet.shell import run
from fleet.traffic import SteadyRequests, answered_by_all, curl, curl_many, ping

VIPS = ("10.200.0.1", "fd00:ff::1")
EAST = ("east-1", "east-2")
WEST_PODS = "io.cilium.k8s.policy.cluster: west"


class KubernetesHub(Kubernetes):
    program = os.path.join(BUILD, "test", "netns", "api-server")


def expected_backends(cluster, chosen=None):
    """Backend addresses that a cluster's gateways have: both families of its own, IPv4 only of other clusters."""
    chosen = backends() if chosen is None else chosen
    return {address for entry in chosen
            for address in (addresses([entry]) if entry.cluster == cluster else [entry.ipv4])}


class KubernetesFleet(FleetCase):
    hub = KubernetesHub
    vips = VIPS

    @classmethod
    def prepare(cls):
        cls.fleet.hub.claim(VIPS)
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster)
        cls.wait_backends()
        cls.east = cls.fleet.gateways["east-1"]
        cls.servers = cls.fleet.hub.servers

    @classmethod
    def wait_backends(cls, chosen=None, timeout=30):
        for gateway in cls.fleet.live():
            cls.fleet.wait_backends("shop/web", expected_backends(gateway.gateway.cluster, chosen), timeout, [gateway])

    def part(self, hub, name):
        return next(row for row in self.east.status()["hub"]["parts"] if (row["hub"], row["name"]) == (hub, name))

    def answered(self, source, target):
        """Whether a pod's web server answers requests from a cluster's client, through every gateway."""
        server = pod(target)
        return answered_by_all(self.fleet.pod(source, "client"),
                               url(server.ipv4, plan.cluster(server.cluster).http_port))


class Basics(KubernetesFleet):
    def test_pods_reach_pods_exported_through_the_fleet_hub(self):
        for source in ("east", "north"):
            self.assertTrue(self.answered(source, "west-web-0"))
            self.assertIsNotNone(ping(self.fleet.pod(source, "client"), pod("west-web-1").ipv4, count=1))

    def test_a_global_service_is_balanced_over_the_backends_of_all_clusters(self):
        for cluster in plan.CLUSTERS:
            seen = curl_many(self.fleet.pod(cluster.name, "client"), url(VIPS[0], 80), 60, "-4")
            self.assertEqual(seen["-"], 0, seen)
            self.assertEqual({name.split("-")[0] for name in seen if seen[name]}, {"east", "west", "north"}, seen)
        seen = curl_many(self.fleet.pod("east", "client"), url(VIPS[1], 80), 20, "-6")
        self.assertEqual((seen["-"], {name.split("-")[0] for name in seen if seen[name]}), (0, {"east"}), seen)

    def test_a_removed_endpoint_gets_no_connections_until_it_is_added_again(self):
        west = plan.cluster("west")
        self.addCleanup(lambda: (self.fleet.hub.write_service(west), self.wait_backends()))
        remaining = [entry for entry in backends() if entry.full_name != "west-web-1"]
        self.fleet.hub.write_service(west, backends=[entry for entry in remaining if entry.cluster == "west"])
        self.wait_backends(remaining)
        seen = curl_many(self.fleet.pod("east", "client"), url(VIPS[0], 80), 60, "-4")
        self.assertEqual((seen["-"], seen["west-web-1"]), (0, 0), seen)
        self.fleet.hub.write_service(west)
        self.wait_backends()
        wait_until(lambda: curl_many(self.fleet.pod("east", "client"), url(VIPS[0], 80), 30, "-4")["west-web-1"],
                   what="west-web-1 answers again")

    def test_the_state_of_both_hubs_is_shown(self):
        for hub, name in (("kubernetes", "pods"), ("kubernetes", "serviceimports"), ("fleet", "endpointsliceexports"),
                          ("fleet", "serviceimports"), ("fleet", "memberclusters")):
            row = self.part(hub, name)
            self.assertEqual((row["state"], row["invalid"], row["last_error"]), ("in sync", [], ""), row)
            self.assertGreater(row["objects"], 0, row)
        text = run([self.east.program, "status", "--hub", "--socket", self.east.socket]).stdout
        for word in ("in sync", "endpointsliceexports", f"{self.servers[FLEET].address}:6444", "ciliumendpoints"):
            self.assertIn(word, text)

    def test_an_invalid_object_is_listed_and_affects_nothing_else(self):
        fleet = self.servers[FLEET]
        good = next(item for key, item in fleet.objects.items() if key[2].startswith("west-shop-web"))
        bad = {**good, "spec": {**good["spec"], "endpoints": [{"addresses": ["10.2.1.300"]}]}}
        self.addCleanup(lambda: (fleet.put(good), wait_until(
            lambda: not self.part("fleet", "endpointsliceexports")["invalid"], what="it is no longer listed")))
        fleet.put(bad)
        wait_until(lambda: self.part("fleet", "endpointsliceexports")["invalid"], what="the invalid object is listed")
        self.assertEqual(self.east.usable_backends("shop/web"), expected_backends("east"))


class EndpointsWithoutLabels(KubernetesFleet):
    """The Fleet hub publishes backends without labels, and clients not at all."""

    settings = {"unknown_endpoint_hold": "1s"}

    def apply(self, text):
        self.addCleanup(self.fleet.hub.remove, policy_file("east", "web"))
        self.fleet.hub.write(policy_file("east", "web"), [text])

    def unapplied(self):
        return [row for row in self.east.status()["problems"] if "without labels" in row["what"]]

    def metric(self):
        page = self.east.netns.run(["curl", "-s", "http://127.0.0.1:9979/metrics"]).stdout
        return [line for line in page.splitlines() if line.startswith("isthmus_policy_unapplied_rules{")]

    def clusterwide(self, rules):
        return cilium_policy("web", "web", rules).replace("NetworkPolicy", "ClusterwideNetworkPolicy", 1).replace(
            ", namespace: shop", "")

    def test_they_have_one_identity_per_cluster(self):
        rows = {name: self.east.query("endpoints", "--address", pod(name).ipv4)["endpoints"][0]["identity"]
                for name in ("west-web-0", "west-web-1", "north-web-0", "east-web-0")}
        self.assertEqual(rows["west-web-0"], rows["west-web-1"])
        self.assertEqual(len({rows["west-web-0"], rows["north-web-0"], rows["east-web-0"]}), 3)
        self.assertGreater(rows["west-web-0"], 0xffffff, "the identity fits into a VNI")
        self.assertEqual(rows["east-web-0"], pod("east-web-0").identity, "endpoints of its own cluster have labels")

    def test_a_published_pod_may_connect_with_an_identity_that_no_hub_published(self):
        server = url(pod("east-web-0").ipv4, plan.cluster("east").http_port)
        self.assertEqual(curl(self.fleet.pod("west", "web-0"), server, timeout=2)[0], 0)
        self.assertEqual(self.drops("east-1", "east-2").get("identity_mismatch", 0), 0)

    def test_a_connection_outlives_the_hold_time_of_unknown_identities(self):
        traffic = SteadyRequests(self.fleet.pod("west", "client"), pod("east-web-0").ipv4, 8080,
                                 os.path.join(self.fleet.folder, "log", "steady-unlisted.log"))
        self.addCleanup(traffic.stop)
        first = time.monotonic()
        wait_until(lambda: traffic.rows() and traffic.rows()[-1][0] > first + 3, what="requests beyond the hold time")
        self.assertEqual([row for row in traffic.stop() if row[3] != "-"], [])
        self.assertEqual(self.drops("east-1", "east-2").get("unknown_source", 0), 0)

    def test_a_rule_by_cluster_selects_them(self):
        self.assertTrue(self.answered("west", "east-web-0") and self.answered("north", "east-web-0"))
        self.apply(self.clusterwide(f"  ingress:\n  - fromEndpoints: [{{matchLabels: {{{WEST_PODS}}}}}]\n"))
        wait_until(lambda: not self.answered("north", "east-web-0"), what="the policy denies north's client")
        self.assertTrue(self.answered("west", "east-web-0"))
        self.assertEqual(self.unapplied(), [])

    def test_a_rule_by_cidr_selects_them(self):
        self.apply(cilium_policy("web", "web", f"  ingress:\n  - fromCIDR: [{pod('west-client').ipv4}/32]\n"))
        wait_until(lambda: not self.answered("north", "east-web-0"), what="the policy denies north's client")
        self.assertTrue(self.answered("west", "east-web-0"))

    def test_a_rule_by_labels_is_reported_and_not_applied(self):
        self.apply(cilium_policy("web", "web", f"  ingress:\n  - fromEndpoints: {peers('west', 'client')}\n"))
        wait_until(lambda: not self.answered("north", "east-web-0"), what="the policy isolates the pods")
        self.assertFalse(self.answered("west", "east-web-0"), "a rule that cannot be evaluated must not allow")
        wait_until(self.unapplied, what="the rule is reported")
        row = self.unapplied()[0]
        self.assertIn("CiliumNetworkPolicy shop/web has a rule for pods app=client", row["what"])
        self.assertIn("of west", row["what"])
        self.assertIn("ciliumnetworkpolicies/web", row["where"])
        self.assertEqual(self.metric(), ['isthmus_policy_unapplied_rules{policy="CiliumNetworkPolicy shop/web"} 1'])
        self.fleet.hub.write(policy_file("east", "web"), [])
        wait_until(lambda: not self.unapplied() and not self.metric(), what="the rule is no longer reported")
        self.fleet.hub.write(policy_file("east", "web"), [
            cilium_policy("web", "web", "  ingress:\n  - fromEndpoints: [{}]\n")])
        wait_until(lambda: not self.answered("north", "east-web-0"), what="the policy is enforced")
        self.assertEqual(self.unapplied(), [], "the rule selects pods of its own cluster only")


class FilesAndKubernetes(KubernetesHub):
    """Fleet objects from files, so that gateways serve without an API server; all else from the servers."""

    def hub_config(self, cluster):
        return (f"{{wait: 1s, file: {{path: {self.folder}/files}}, kubernetes: {{cluster: "
                f"{self.servers[cluster].kubeconfig}, fleet: {self.servers[FLEET].kubeconfig}}}}}", None)

    def write(self, name, documents):
        if name.startswith("fleet/"):
            self.write_at(os.path.join(self.folder, "files", name), documents)
        else:
            super().write(name, documents)


class PoliciesNotListedYet(KubernetesFleet):
    """East's gateways start with an API server that is away, or lets them read everything but policies. Each of them
    reads its API server for itself, so that one may be seconds behind the other."""

    hub = FilesAndKubernetes
    # Nothing but policy decides: sources that no hub has published are believed throughout, and nothing is known of
    # before a restart.
    settings = {"unknown_endpoint_hold": "10m", "last_known_age": "0s"}
    away = "have not been listed yet, so that this cluster's policies are not known"

    def setUp(self):
        self.addCleanup(self.restore)
        for name in EAST:
            self.fleet.gateways[name].stop()

    def restore(self):
        if not self.servers["east"].alive:
            self.servers["east"].start()
        self.servers["east"].forbid("cilium.io/v2", "CiliumClusterwideNetworkPolicy", False)
        self.wait_policies()

    def restart(self):
        for name in EAST:
            gateway = self.fleet.gateways[name]
            gateway.start(wait=False)
            wait_until(lambda one=gateway: (one.query("status", check=False) or {}).get("peers"),
                       what=f"{name} serves although its API server does not")
        self.fleet.wait_peers()

    def unknown(self, name="east-1"):
        """The problems of a gateway about policies that are not known."""
        problems = self.fleet.gateways[name].status()["problems"]
        return [f"{row['what']} ({row['fix']})" for row in problems if "policies" in row["what"]]

    def wait_policies(self):
        for name in EAST:
            wait_until(lambda one=name: not self.unknown(one), timeout=60, what=f"{name} knows east's policies")

    def exchanged(self):
        """Which of the packets into east, out of it, and between two other clusters arrive."""
        return (self.answered("west", "east-web-0"), self.answered("east", "west-web-0"),
                self.answered("north", "west-web-0"))

    def test_nothing_reaches_or_leaves_pods_while_the_server_is_away_and_policy_holds_as_soon_as_it_is_back(self):
        east = plan.cluster("east")
        self.addCleanup(self.fleet.hub.remove, policy_file("east", "web"))
        self.fleet.hub.write(policy_file("east", "web"), [cilium_policy(
            "web", "web", f"  ingress:\n  - fromCIDR: [{pod('west-client').ipv4}/32]\n")])
        self.servers["east"].kill()
        self.restart()
        self.assertEqual(self.exchanged(), (False, False, True))
        wait_until(lambda: [row for row in self.unknown() if self.away in row], what="the server is listed as away")
        text = "\n".join(self.unknown())
        for word in ("networkpolicies", "ciliumclusterwidenetworkpolicies", "policy.until_listed: allow",
                     "packets from and to its pods are denied"):
            self.assertIn(word, text)
        self.assertGreater(self.drops("east-1", "east-2").get("policy_denied", 0), 0)
        self.servers["east"].start()
        self.wait_policies()
        for gateway in east.gateways:
            self.fleet.gateways[gateway.name].wait_endpoints(addresses(backends("east")))
        wait_until(lambda: self.exchanged() == (True, True, True), what="packets pass")
        self.assertFalse(self.answered("north", "east-web-0"), "the policy admits west's client only")
        self.servers["east"].kill()
        wait_until(lambda: self.part("kubernetes", "networkpolicies")["state"] == "stale", what="the loss is noticed")
        self.assertEqual(self.exchanged(), (True, True, True), "what was listed stays in force")
        self.assertFalse(self.answered("north", "east-web-0"))
        self.assertEqual(self.unknown(), [])

    def test_pods_stay_denied_while_one_kind_of_policy_is_forbidden(self):
        self.servers["east"].forbid("cilium.io/v2", "CiliumClusterwideNetworkPolicy")
        self.restart()
        for name in EAST:
            wait_until(lambda one=name: self.unknown(one), what=f"{name} lists the kind")
        self.east.wait_endpoints(addresses(backends("east")))
        self.assertEqual(self.exchanged(), (False, False, True))
        text = "\n".join(self.unknown())
        self.assertIn("ciliumclusterwidenetworkpolicies cannot be read: HTTP 403", text)
        self.assertIn("grant list and watch on ciliumclusterwidenetworkpolicies", text)
        self.assertNotIn(self.away, text, "every other kind was listed")
        self.servers["east"].forbid("cilium.io/v2", "CiliumClusterwideNetworkPolicy", False)
        self.wait_policies()
        wait_until(lambda: self.exchanged() == (True, True, True), what="packets pass")


class Outages(SteadyTraffic, KubernetesFleet):
    """API server restarts under traffic; each test restores the fleet."""

    def restart(self, name, hub, resource):
        """Kills the server and restarts it with a new CA and no watch history."""
        server = self.servers[name]
        traffic = self.steady(f"restart-{name}")
        server.kill()
        wait_until(lambda: self.part(hub, resource)["state"] != "in sync", what="the loss is detected")
        self.assertTrue(self.answered("east", "west-web-0"))
        self.assertEqual(self.east.usable_backends("shop/web"), expected_backends("east"))
        connects = self.part(hub, resource)["connects"]
        server.start()
        wait_until(lambda: self.part(hub, resource)["state"] == "in sync", timeout=60, what="it is in sync again")
        self.assertGreater(self.part(hub, resource)["connects"], connects)
        self.assert_undisturbed(traffic)

    def test_traffic_continues_while_the_fleet_hub_restarts(self):
        self.restart(FLEET, "fleet", "endpointsliceexports")

    def test_traffic_continues_while_the_clusters_own_server_restarts(self):
        self.restart("east", "kubernetes", "endpointslices")

    def test_changes_during_an_outage_of_the_fleet_hub_are_applied_after_it(self):
        west, fleet = plan.cluster("west"), self.servers[FLEET]
        self.addCleanup(lambda: (self.fleet.hub.write_service(west), self.wait_backends(timeout=60)))
        remaining = [entry for entry in backends() if entry.full_name != "west-web-1"]
        fleet.kill()
        self.fleet.hub.write_service(west, backends=[entry for entry in remaining if entry.cluster == "west"])
        self.assertIn(pod("west-web-1").ipv4, self.east.usable_backends("shop/web"))
        fleet.start()
        for gateway in self.fleet.live():
            if gateway.gateway.cluster != "west":
                expected = expected_backends(gateway.gateway.cluster, remaining)
                self.fleet.wait_backends("shop/web", expected, 60, [gateway])
        self.assertTrue(self.answered("east", "west-web-0"))

    def test_a_compacted_watch_history_causes_a_relist(self):
        traffic = self.steady("compacted")
        self.servers[FLEET].compact(NETWORKING, "EndpointSliceExport")
        self.servers["east"].compact("discovery.k8s.io/v1", "EndpointSlice")
        west = plan.cluster("west")
        self.addCleanup(lambda: (self.fleet.hub.write_service(west), self.wait_backends(timeout=60)))
        remaining = [entry for entry in backends() if entry.full_name != "west-web-1"]
        self.fleet.hub.write_service(west, backends=[entry for entry in remaining if entry.cluster == "west"])
        self.wait_backends(remaining, timeout=60)
        self.assert_undisturbed(traffic)


if __name__ == "__main__":
    unittest.main()
