"""Identity policy in the fleet, with curl and ping: what is allowed, what is denied, and the drop reasons."""

import json
import os
import unittest

from fleet_case import PROGRAM, FleetCase, plan, pod, url, wait_until
from fleet import hub
from fleet.policies import cilium_policy, peers, policy_file, port
from fleet.shell import run
from fleet.traffic import SteadyRequests, answered_by_all, curl, pinged_through_all
from restart_test import Restarting

EAST, WEST = plan.cluster("east"), plan.cluster("west")
EVERYWHERE = "{key: io.cilium.k8s.policy.cluster, operator: Exists}"
EVERY_CLIENT = f"[{{matchLabels: {{app: client}}, matchExpressions: [{EVERYWHERE}]}}]"
# West's first node's address in its pod subnet: answers pings, but is not an endpoint.
WEST_HOST = "10.2.1.1"


class PolicyCase(FleetCase):
    def setUp(self):
        wait_until(lambda: self.http("west-client", "east-web-0") and self.http("north-client", "east-web-0")
                   and self.http("east-client", "west-web-0"), what="all traffic is allowed before the test")

    def apply(self, cluster, name, *documents):
        """Applies policies of a cluster until the end of the test."""
        self.fleet.hub.write(policy_file(cluster, name), documents)
        self.addCleanup(self.withdraw, cluster, name)

    def withdraw(self, cluster, name):
        if os.path.exists(self.fleet.hub.locate(policy_file(cluster, name))):
            self.fleet.hub.remove(policy_file(cluster, name))

    def pod_netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    def http(self, client, server, family="ipv4"):
        """Whether HTTP requests succeed, through every gateway."""
        target = pod(server)
        return answered_by_all(self.pod_netns(client),
                               url(getattr(target, family), plan.cluster(target.cluster).http_port))

    def pings(self, client, address):
        return pinged_through_all(self.pod_netns(client), address)

    def wait_denied(self, ask, reason, what):
        """Waits until `ask` fails, and checks that east's gateways count its packets under `reason`."""
        wait_until(lambda: not ask(), timeout=60, what=f"{what} is denied")
        before = self.drops("east-1", "east-2").get(reason, 0)
        self.assertFalse(ask(), f"{what} stays denied")
        self.assertGreater(self.drops("east-1", "east-2").get(reason, 0), before, f"{what}: no drop as {reason}")

    def wait_allowed(self, ask, what):
        wait_until(ask, timeout=60, what=f"{what} is allowed")


class PlainHub(hub.Hub):
    """What clusters without Cilium have: no CiliumEndpoints and no CiliumIdentities."""

    def write_pods(self, cluster):
        self.write(f"clusters/{cluster.name}/pods.yaml", [hub.namespace_manifest("shop")]
                   + [hub.node_manifest(cluster, node) for node in cluster.nodes]
                   + [hub.pod_manifest(cluster, entry) for entry in cluster.pods()])


class WithoutCilium(PolicyCase):
    hub = PlainHub

    def deny_all(self, name, rules="policyTypes: [Ingress, Egress]", selector="{}"):
        return (f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n"
                f"spec: {{podSelector: {selector}, {rules}}}\n")

    def test_a_network_policy_binds_pods_by_the_labels_of_the_pod(self):
        self.apply("east", "deny", self.deny_all("deny"))
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "west's client")
        self.wait_denied(lambda: self.http("east-client", "west-web-0"), "policy_denied", "east's client")
        self.withdraw("east", "deny")
        self.wait_allowed(lambda: self.http("west-client", "east-web-0"), "west's client without the policy")
        self.apply("east", "web", self.deny_all("web", "policyTypes: [Ingress]", "{matchLabels: {app: web}}"))
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "west's client")
        self.assertTrue(self.http("east-client", "west-web-0"), "east's client has other labels")

    def test_a_pod_that_no_hub_lists_is_denied_where_there_are_policies(self):
        east, file = plan.cluster("east"), "clusters/east/pods.yaml"
        self.addCleanup(self.fleet.hub.write_pods, east)
        self.fleet.hub.write(file, [hub.namespace_manifest("shop")]
                             + [hub.node_manifest(east, node) for node in east.nodes]
                             + [hub.pod_manifest(east, entry) for entry in east.pods() if entry.name != "web-0"])
        self.apply("east", "other", self.deny_all("other", "policyTypes: [Ingress]", "{matchLabels: {app: other}}"))
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "a pod without labels")
        self.assertTrue(self.http("east-client", "west-web-0"), "a pod with labels that no policy selects")
        self.fleet.hub.write_pods(east)
        self.wait_allowed(lambda: self.http("west-client", "east-web-0"), "west's client once the pod is listed")


class AlwaysWithoutCilium(PolicyCase):
    """Pods without a published identity are under `enforcement: always` too, and trace and status say so."""

    hub = PlainHub
    settings = {"policy": "{enforcement: always}"}

    def setUp(self):  # in east nothing is allowed before a test
        self.apply("west", "open", """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}
""")

    def trace(self, client):
        return self.fleet.gateways["east-1"].query(
            "policy", "trace", "--from", client, "--to", pod("east-web-0").ipv4, "--port", f"{EAST.http_port}/tcp")

    def test_pods_are_denied_until_a_policy_allows_them(self):
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "west's client")
        self.wait_denied(lambda: self.http("east-client", "west-web-0"), "policy_denied", "east's client")
        trace = self.trace("west/shop/client")
        self.assertEqual(trace["verdict"], "denied")
        self.assertIn("policy.enforcement is always", json.dumps(trace))
        # Out of them, too: a reply may leave by the gateway that does not know the connection.
        self.apply("east", "web", """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: %d}]}],
       egress: [{}]}
""" % EAST.http_port)
        self.wait_allowed(lambda: self.http("west-client", "east-web-0"), "west's client by the policy")
        self.assertEqual(self.trace("west/shop/client")["verdict"], "allowed")
        self.assertFalse(self.http("east-client", "west-web-0"), "east's client is under no policy")

    def test_a_pod_without_labels_is_denied_and_listed(self):
        east, file = plan.cluster("east"), "clusters/east/pods.yaml"
        unlabelled = ("apiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {name: web-0, namespace: shop}\n"
                      f"status: {{networking: {{addressing: [{{ipv4: {pod('east-web-0').ipv4}}}]}}}}\n")
        self.addCleanup(self.fleet.hub.write_pods, east)
        self.fleet.hub.write(file, [hub.namespace_manifest("shop")]
                             + [hub.node_manifest(east, node) for node in east.nodes]
                             + [hub.pod_manifest(east, entry) for entry in east.pods() if entry.name != "web-0"]
                             + [unlabelled])

        def listed():
            return [row for row in self.fleet.gateways["east-1"].status()["problems"]
                    if "the labels of 1 endpoints of cluster east are not known" in row["what"]]
        wait_until(listed, timeout=60, what="the pod without labels is listed")
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "west's client")
        trace = self.trace("west/shop/client")
        self.assertEqual(trace["verdict"], "denied")
        self.assertIn("its labels are not known", json.dumps(trace))


class Policies(Restarting, PolicyCase):
    def test_ingress_allows_one_identity_of_another_cluster_on_one_port_only(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
    toPorts: {port(EAST.http_port)}
"""))
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "north's client")
        self.wait_denied(lambda: self.http("north-client", "east-web-0", "ipv6"), "policy_denied", "north over IPv6")
        self.wait_denied(lambda: self.pings("west-client", pod("east-web-0").ipv4), "policy_denied", "ping")
        for family in ("ipv4", "ipv6"):
            self.assertTrue(self.http("west-client", "east-web-0", family), "west's client")
            self.assertTrue(self.http("west-client", "east-web-1", family), "west's client, through the other gateway")
        self.assertTrue(self.http("east-client", "west-web-0"), "other pods of east are not affected")

    def test_a_selector_without_a_cluster_selects_the_policys_own_cluster(self):
        own = f"  ingress: [{{fromEndpoints: {peers('', 'client')}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", own))
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "west's client")
        every = f"  ingress: [{{fromEndpoints: {EVERY_CLIENT}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", every))
        self.wait_allowed(lambda: self.http("west-client", "east-web-0"), "a client of any cluster")
        self.assertTrue(self.http("north-client", "east-web-0"))

    def test_deny_takes_precedence_over_allow(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEntities: [all]
  ingressDeny:
  - fromEndpoints: {peers("north", "client")}
"""))
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_deny", "north's client")
        self.assertTrue(self.http("west-client", "east-web-0"))
        self.assertTrue(self.pings("west-client", pod("east-web-0").ipv4))

    def test_icmp_is_allowed_by_type(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
    icmps: [{{fields: [{{family: IPv4, type: 8}}]}}]
"""))
        target = pod("east-web-0")
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "HTTP")
        self.wait_denied(lambda: self.pings("west-client", target.ipv6), "policy_denied", "an echo over IPv6")
        self.wait_denied(lambda: self.pings("north-client", target.ipv4), "policy_denied", "an echo from north")
        self.assertTrue(self.pings("west-client", target.ipv4))

    def test_egress_to_a_prefix_does_not_apply_to_endpoints(self):
        self.assertTrue(self.pings("east-client", WEST_HOST), "no answer before the policy")
        self.apply("east", "client", cilium_policy("client", "client", """\
  egress:
  - toCIDRSet: [{cidr: 10.2.1.0/24, except: [10.2.1.128/25]}]
"""))
        self.wait_denied(lambda: self.http("east-client", "west-web-0"), "policy_denied", "a pod inside the prefix")
        self.assertTrue(self.pings("east-client", WEST_HOST))
        self.apply("east", "client", cilium_policy("client", "client", """\
  egress:
  - toCIDRSet: [{cidr: 10.2.1.0/24, except: [10.2.1.0/28]}]
"""))
        self.wait_denied(lambda: self.pings("east-client", WEST_HOST), "policy_denied", "an excluded address")

    def test_egress_to_pods_of_another_cluster(self):
        self.apply("east", "client", cilium_policy("client", "client", f"""\
  egress:
  - toEndpoints: {peers("west", "web")}
    toPorts: {port(WEST.http_port)}
"""))
        self.wait_denied(lambda: self.http("east-client", "north-web-0"), "policy_denied", "north")
        self.assertTrue(self.http("east-client", "west-web-0"))
        self.assertTrue(self.http("west-client", "east-web-0"), "other directions are not concerned")

    def test_a_kubernetes_policy_denies_all_ingress(self):
        self.apply("east", "web", """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
""")
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "west's client")
        self.assertTrue(self.http("east-client", "west-web-0"), "its own way out")

    def policies(self):
        """What each gateway of east says of its policies: rows by name."""
        return [{row["name"]: row for row in self.fleet.gateways[name].query("policy")["policies"]}
                for name in ("east-1", "east-2")]

    def wait_policy(self, name, state):
        def rows():
            found = [rows.get(name, {"state": "absent"}) for rows in self.policies()]
            return found if all(row["state"] == state for row in found) else None
        return wait_until(rows, timeout=60, what=f"policy {name} is {state}")

    def test_an_unsupported_policy_closes_its_subjects_and_is_reported(self):
        """A rule with L7 allows nothing and the default stays closed; a previous version, if any, stays in force."""
        rest = f"""\
  - fromEndpoints: {peers("west", "client")}
    toPorts: [{{ports: [{{port: "{EAST.http_port}"}}], rules: {{http: [{{method: GET}}]}}}}]
"""
        not_supported = "spec.ingress[1].toPorts[0].rules is not supported"
        self.apply("east", "web", cilium_policy("web", "web", "  ingress:\n  - fromEntities: [none]\n" + rest))
        for row in self.wait_policy("shop/web", "refused"):
            self.assertIn(not_supported, row["problem"])
            self.assertRegex(row["where"], r"policy-web\.yaml:\d+$")
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "north's client")
        self.assertFalse(self.http("west-client", "east-web-0"), "a refused rule allows")
        for direction in self.fleet.gateways["east-1"].query("policy", "shop/web-0")["directions"]:
            self.assertEqual(direction["refused"], ["CiliumNetworkPolicy shop/web"])
        one_rule = f"  ingress: [{{fromEndpoints: {peers('west', 'client')}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", one_rule))
        self.wait_policy("shop/web", "applied")
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "north's client")
        self.apply("east", "web", cilium_policy("web", "web", "  ingress:\n  - fromEntities: [all]\n" + rest))
        for row in self.wait_policy("shop/web", "outdated"):
            self.assertIn(not_supported, row["problem"])
        self.assertTrue(self.http("west-client", "east-web-0"))
        self.assertFalse(self.http("north-client", "east-web-0"), "the previous version does not apply")

    def test_a_gateway_that_restarts_keeps_the_version_that_the_other_one_has(self):
        """A policy that is refused while a gateway restarts is `outdated` at both, with the same verdicts."""
        one_rule = f"  ingress: [{{fromEndpoints: {peers('west', 'client')}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", one_rule))
        self.wait_policy("shop/web", "applied")
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "north's client")
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEntities: [all]
    toPorts: [{{ports: [{{port: "{EAST.http_port}"}}], rules: {{http: [{{}}]}}}}]
"""))
        self.wait_policy("shop/web", "outdated")
        both = [self.fleet.gateways[name] for name in ("east-1", "east-2")]
        self.kept(both[1])
        self.kill(both[1])
        self.serve(both[1])
        self.fleet.wait_peers()
        rows = self.wait_policy("shop/web", "outdated")
        self.assertEqual(rows[0], rows[1])
        self.assertIn("the previous version stays in force", rows[1]["problem"])
        self.assertNotIn("closed", rows[1]["problem"])
        question = ("--to", pod("east-web-0").ipv4, "--port", f"{EAST.http_port}/tcp")
        traces = [[gateway.query("policy", "trace", "--from", f"{client}/shop/client", *question)
                   for client in ("west", "north")] for gateway in both]
        self.assertEqual([trace["verdict"] for trace in traces[0]], ["allowed", "denied"])
        self.assertEqual(traces[0], traces[1])
        for server in ("east-web-0", "east-web-1"):
            self.wait_allowed(lambda to=server: self.http("west-client", to), f"west's client at {server}")
            self.assertFalse(self.http("north-client", server))

    def test_policies_of_kinds_and_versions_that_are_not_read_are_named(self):
        for version, kind, spec in (
                ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "{tier: Admin, priority: 1}"),
                ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "{priority: 1}"),
                ("extensions/v1beta1", "NetworkPolicy", "{podSelector: {matchLabels: {app: none}}}"),
                ("networking.k8s.oi/v1", "NetworkPolicy", "{podSelector: {matchLabels: {app: none}}}"),
                ("cilium.io/v2", "CiliumNetworkPolcy", "{endpointSelector: {matchLabels: {app: none}}}")):
            self.apply("east", "other", f"apiVersion: {version}\nkind: {kind}\n"
                                        f"metadata: {{name: block, namespace: shop}}\nspec: {spec}\n")

            def named(kind=kind):
                return [row for row in self.fleet.gateways["east-1"].status()["problems"]
                        if "policy-other.yaml" in row["where"] and kind in row["what"] and "not read" in row["what"]]
            wait_until(named, timeout=60, what=f"{kind} of {version} is named as not enforced")
        self.withdraw("east", "other")
        own = f"  ingress: [{{fromEndpoints: {peers('west', 'client')}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", own))
        self.wait_policy("shop/web", "applied")
        self.apply("east", "web", cilium_policy("web", "web", own).replace("cilium.io/v2", "cilium.io/v2alpha1"))
        self.wait_policy("shop/web", "outdated")
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "north's client")
        self.assertTrue(self.http("west-client", "east-web-0"), "the version before is in force")

    def test_a_trace_names_the_deciding_rule_with_file_and_line(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
    toPorts: {port(EAST.http_port)}
  ingressDeny:
  - fromEndpoints: {peers("north", "client")}
"""))
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_deny", "north's client")
        line_of_deny = 10  # line number in the file; cilium_policy() puts five lines before the rules
        for client, l4_port, verdict, line in (("west-client", f"{EAST.http_port}/tcp", "allowed", line_of_deny - 3),
                                               ("west-client", "9/udp", "denied", None),
                                               ("north-client", f"{EAST.http_port}/tcp", "denied", line_of_deny)):
            with self.subTest(client=client, port=l4_port):
                trace = self.fleet.gateways["east-1"].query(
                    "policy", "trace", "--from", client.replace("-", "/shop/", 1), "--to", pod("east-web-0").ipv4,
                    "--port", l4_port)
                self.assertEqual(trace["verdict"], verdict)
                ingress = next(row for row in trace["directions"] if row["direction"] == "ingress")
                self.assertEqual(len(ingress["rules"]), 2, "not every rule is shown")
                deciding = [row["where"].rsplit(":", 1) for row in ingress["rules"] if row.get("decides")]
                self.assertEqual([int(number) for _, number in deciding], [line] if line else [])
                for file, _ in deciding:
                    self.assertTrue(file.endswith("policy-web.yaml"), file)

    def test_the_rules_that_apply_to_an_endpoint_are_listed(self):
        self.apply("east", "web", cilium_policy("web", "web", "  ingressDeny: [{fromEntities: [world]}]\n"))
        self.wait_policy("shop/web", "applied")
        shown = self.fleet.gateways["east-1"].query("policy", "shop/web-0")
        self.assertEqual(shown["endpoint"]["identity"], pod("east-web-0").identity)
        self.assertEqual([(row["direction"], len(row["rules"])) for row in shown["directions"]],
                         [("ingress", 1), ("egress", 0)])
        other = self.fleet.gateways["east-1"].query("policy", "shop/client")
        self.assertEqual([len(row["rules"]) for row in other["directions"]], [0, 0])

    def test_an_identity_with_two_label_sets_is_denied_and_reported(self):
        """North publishes another label set for the identity of west's clients."""
        number = pod("west-client").identity
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
"""))
        self.wait_allowed(lambda: self.http("west-client", "east-web-0")
                          and not self.http("north-client", "east-web-0"), "west's client only")
        duplicate = "clusters/north/duplicate.yaml"
        self.fleet.hub.write(duplicate, [f"""\
apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {{name: "{number}"}}
security-labels: {{"k8s:app": other, "k8s:io.kubernetes.pod.namespace": shop}}
"""])
        self.addCleanup(self.fleet.hub.remove, duplicate)
        wait_until(lambda: not self.http("west-client", "east-web-0"), timeout=60, what="the identity is denied")
        problems = [row for row in self.fleet.gateways["east-1"].status()["problems"]
                    if str(number) in row["what"] + row["where"]]
        self.assertTrue(problems and all(row["fix"] for row in problems),
                        self.fleet.gateways["east-1"].status()["problems"])

    def test_a_policy_change_applies_to_an_established_connection(self):
        """ping uses one connection (one ICMP identifier) for as long as it runs."""
        target = pod("east-web-0").ipv4
        log = os.path.join(self.fleet.folder, "log", "live-ping.log")
        pinging = self.pod_netns("west-client").start("live-ping", ["ping", "-n", "-i", "0.05", target], log)
        self.addCleanup(pinging.stop)

        def answers():
            with open(log, encoding="utf-8") as file:
                return file.read().count(" time=")
        wait_until(lambda: answers() > 10, what="answers")
        self.apply("east", "web", cilium_policy("web", "web", "  ingressDeny: [{fromEntities: [all]}]\n"))

        def dropped():  # by either gateway, whichever west chose for the connection
            return self.drops("east-1", "east-2").get("policy_deny", 0)
        before = dropped()

        def wait_drops(more):
            wait_until(lambda: dropped() > before + more, timeout=60, what="dropped echoes")
        wait_drops(20)
        answered = answers()
        wait_drops(60)
        self.assertEqual(answers(), answered, "an echo was answered while denied")
        self.withdraw("east", "web")
        wait_until(lambda: answers() > answered + 10, timeout=60, what="answers again")

    def test_policy_changes_do_not_disturb_allowed_requests(self):
        """Requests of an identity that stays allowed never fail while another identity is allowed and denied."""
        steady = SteadyRequests(self.pod_netns("west-client"), pod("east-web-0").ipv4, EAST.http_port,
                                os.path.join(self.fleet.folder, "log", "steady-policy.log"))
        self.addCleanup(steady.stop)
        for number in range(6):
            app = "client" if number % 2 else "web"
            self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
  - fromEndpoints: {peers("north", app)}
"""))
            if app == "web":
                wait_until(lambda: not self.http("north-client", "east-web-0"), timeout=60, what="north is denied")
            else:
                self.wait_allowed(lambda: self.http("north-client", "east-web-0"), "north")
        self.assertEqual([row for row in steady.stop() if row[3] != "-"], [])


class Audit(FleetCase):
    """In audit mode, traffic that policy would deny passes and is reported."""

    settings = {"policy": "{audit: true}"}

    def test_denied_traffic_passes_and_is_reported_as_audited(self):
        self.fleet.hub.write(policy_file("east", "web"), [cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
""")])
        client, target = self.fleet.pod("north", "client"), pod("east-web-0")

        def audited():
            status, _ = curl(client, url(target.ipv4, EAST.http_port))
            self.assertEqual(status, 0)
            return [line["flow"] for name in ("east-1", "east-2") for line in self.flows(name, "--verdict", "audit")]
        flow = wait_until(audited, timeout=60, what="an audited flow")[0]
        self.assertEqual((flow["source"]["cluster_name"], flow["destination"]["pod_name"], flow["traffic_direction"]),
                         ("north", "web-0", "INGRESS"))
        self.assertNotIn("policy_denied", self.drops("east-1", "east-2"))
        status, _ = curl(self.fleet.pod("west", "client"), url(target.ipv4, EAST.http_port))
        self.assertEqual(status, 0)
        for name in ("east-1", "east-2"):
            self.assertEqual(self.flows(name, "--verdict", "audit", "--cluster", "west"), [],
                             "allowed traffic is reported as audited")

    def flows(self, gateway, *options):
        done = run([PROGRAM, "flows", "-o", "json", "--socket", self.fleet.gateways[gateway].socket, *options])
        return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    unittest.main()
