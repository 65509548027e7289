"""Identity policy in the fleet, by real curl and ping: who is admitted, who is not, and how the drops are named."""

import json
import os
import unittest

from fleet_case import PROGRAM, FleetCase, plan, pod, url, wait_until
from fleet.policies import cilium_policy, peers, policy_file, port
from fleet.shell import run
from fleet.traffic import SteadyRequests, curl, ping

EAST, WEST = plan.cluster("east"), plan.cluster("west")
EVERYWHERE = "{key: io.cilium.k8s.policy.cluster, operator: Exists}"
EVERY_CLIENT = f"[{{matchLabels: {{app: client}}, matchExpressions: [{EVERYWHERE}]}}]"
# An address of west's first node in its pod subnet: answers, and is no endpoint.
WEST_HOST = "10.2.1.1"


class Policies(FleetCase):
    def setUp(self):
        wait_until(lambda: self.http("west-client", "east-web-0") and self.http("north-client", "east-web-0")
                   and self.http("east-client", "west-web-0"), what="everything is open before")

    def apply(self, cluster, name, *documents):
        """Writes policies into a cluster's part of the hub, until the test ends."""
        self.fleet.hub.write(policy_file(cluster, name), documents)
        self.addCleanup(self.withdraw, cluster, name)

    def withdraw(self, cluster, name):
        if os.path.exists(self.fleet.hub.locate(policy_file(cluster, name))):
            self.fleet.hub.remove(policy_file(cluster, name))

    def space(self, name):
        return self.fleet.pod(*name.split("-", 1))

    def http(self, client, server, family="ipv4"):
        """Whether a request is answered."""
        target = pod(server)
        status, _ = curl(self.space(client), url(getattr(target, family), plan.cluster(target.cluster).http_port),
                         timeout=1)
        return status == 0

    def pings(self, client, address):
        return ping(self.space(client), address) is not None

    def wait_denied(self, ask, reason, what):
        """Until it is refused, under that name in the drops of east's gateways."""
        wait_until(lambda: not ask(), timeout=60, what=f"{what} is denied")
        before = self.drops("east-1", "east-2").get(reason, 0)
        self.assertFalse(ask(), f"{what} stays denied")
        self.assertGreater(self.drops("east-1", "east-2").get(reason, 0), before, f"{what}: dropped as {reason}")

    def wait_allowed(self, ask, what):
        wait_until(ask, timeout=60, what=f"{what} is allowed")

    def test_ingress_admits_one_identity_across_clusters_and_its_port_only(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
    toPorts: {port(EAST.http_port)}
"""))
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "a client of north")
        self.wait_denied(lambda: self.http("north-client", "east-web-0", "ipv6"), "policy_denied", "the same by IPv6")
        self.wait_denied(lambda: self.pings("west-client", pod("east-web-0").ipv4), "policy_denied", "ping")
        for family in ("ipv4", "ipv6"):
            self.assertTrue(self.http("west-client", "east-web-0", family), "a client of west")
            self.assertTrue(self.http("west-client", "east-web-1", family), "behind the other gateway")
        self.assertTrue(self.http("east-client", "west-web-0"), "other pods of east are not concerned")

    def test_a_selector_without_a_cluster_means_the_policys_own(self):
        own = f"  ingress: [{{fromEndpoints: {peers('', 'client')}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", own))
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "a client of west")
        every = f"  ingress: [{{fromEndpoints: {EVERY_CLIENT}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", every))
        self.wait_allowed(lambda: self.http("west-client", "east-web-0"), "a client of any cluster")
        self.assertTrue(self.http("north-client", "east-web-0"))

    def test_deny_goes_before_allow(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEntities: [all]
  ingressDeny:
  - fromEndpoints: {peers("north", "client")}
"""))
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_deny", "a client of north")
        self.assertTrue(self.http("west-client", "east-web-0"))
        self.assertTrue(self.pings("west-client", pod("east-web-0").ipv4))

    def test_icmp_is_admitted_by_type(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
    icmps: [{{fields: [{{family: IPv4, type: 8}}]}}]
"""))
        target = pod("east-web-0")
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "HTTP")
        self.wait_denied(lambda: self.pings("west-client", target.ipv6), "policy_denied", "an echo by IPv6")
        self.wait_denied(lambda: self.pings("north-client", target.ipv4), "policy_denied", "an echo from north")
        self.assertTrue(self.pings("west-client", target.ipv4))

    def test_egress_to_a_prefix_is_for_addresses_that_are_no_endpoint(self):
        self.assertTrue(self.pings("east-client", WEST_HOST), "answers before")
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
        self.wait_denied(lambda: self.pings("east-client", WEST_HOST), "policy_denied", "what the prefix leaves out")

    def test_egress_to_another_clusters_pods(self):
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
        self.wait_denied(lambda: self.http("west-client", "east-web-0"), "policy_denied", "a client of west")
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

    def test_what_is_not_enforced_is_refused_whole_and_the_policys_state_says_so(self):
        """Of a policy with one rule that would be L7, no rule counts; a version before it stays in force."""
        rest = f"""\
  - fromEndpoints: {peers("west", "client")}
    toPorts: [{{ports: [{{port: "{EAST.http_port}"}}], rules: {{http: [{{method: GET}}]}}}}]
"""
        not_supported = "spec.ingress[1].toPorts[0].rules is not supported"
        self.apply("east", "web", cilium_policy("web", "web", "  ingress:\n  - fromEntities: [none]\n" + rest))
        for row in self.wait_policy("shop/web", "refused"):
            self.assertIn(not_supported, row["problem"])
            self.assertRegex(row["where"], r"policy-web\.yaml:\d+$")
        self.assertTrue(self.http("west-client", "east-web-0") and self.http("north-client", "east-web-0"),
                        "no half of it holds")
        one_rule = f"  ingress: [{{fromEndpoints: {peers('west', 'client')}}}]\n"
        self.apply("east", "web", cilium_policy("web", "web", one_rule))
        self.wait_policy("shop/web", "applied")
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_denied", "a client of north")
        self.apply("east", "web", cilium_policy("web", "web", "  ingress:\n  - fromEntities: [all]\n" + rest))
        for row in self.wait_policy("shop/web", "outdated"):
            self.assertIn(not_supported, row["problem"])
        self.assertTrue(self.http("west-client", "east-web-0"))
        self.assertFalse(self.http("north-client", "east-web-0"), "the version before stays in force")

    def test_a_trace_names_the_deciding_rule_with_file_and_line(self):
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
    toPorts: {port(EAST.http_port)}
  ingressDeny:
  - fromEndpoints: {peers("north", "client")}
"""))
        self.wait_denied(lambda: self.http("north-client", "east-web-0"), "policy_deny", "a client of north")
        line_of_deny = 10  # of the file, behind the five lines that cilium_policy() begins with
        for client, l4_port, verdict, line in (("west-client", f"{EAST.http_port}/tcp", "allowed", line_of_deny - 3),
                                               ("west-client", "9/udp", "denied", None),
                                               ("north-client", f"{EAST.http_port}/tcp", "denied", line_of_deny)):
            with self.subTest(client=client, port=l4_port):
                trace = self.fleet.gateways["east-1"].query(
                    "policy", "trace", "--from", client.replace("-", "/shop/", 1), "--to", pod("east-web-0").ipv4,
                    "--port", l4_port)
                self.assertEqual(trace["verdict"], verdict)
                ingress = next(row for row in trace["directions"] if row["direction"] == "ingress")
                self.assertEqual(len(ingress["rules"]), 2, "each rule considered is shown")
                deciding = [row["where"].rsplit(":", 1) for row in ingress["rules"] if row.get("decides")]
                self.assertEqual([int(number) for _, number in deciding], [line] if line else [])
                for place, _ in deciding:
                    self.assertTrue(place.endswith("policy-web.yaml"), place)

    def test_what_applies_to_an_endpoint_is_listed(self):
        self.apply("east", "web", cilium_policy("web", "web", "  ingressDeny: [{fromEntities: [world]}]\n"))
        self.wait_policy("shop/web", "applied")
        shown = self.fleet.gateways["east-1"].query("policy", "shop/web-0")
        self.assertEqual(shown["endpoint"]["identity"], pod("east-web-0").identity)
        self.assertEqual([(row["direction"], len(row["rules"])) for row in shown["directions"]],
                         [("ingress", 1), ("egress", 0)])
        other = self.fleet.gateways["east-1"].query("policy", "shop/client")
        self.assertEqual([len(row["rules"]) for row in other["directions"]], [0, 0])

    def test_an_identity_with_two_meanings_is_denied_and_named(self):
        """north publishes another label set under the number of west's clients."""
        number = pod("west-client").identity
        self.apply("east", "web", cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
"""))
        self.wait_allowed(lambda: self.http("west-client", "east-web-0")
                          and not self.http("north-client", "east-web-0"), "west's client only")
        twin = "clusters/north/twin.yaml"
        self.fleet.hub.write(twin, [f"""\
apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {{name: "{number}"}}
security-labels: {{"k8s:app": other, "k8s:io.kubernetes.pod.namespace": shop}}
"""])
        self.addCleanup(self.fleet.hub.remove, twin)
        wait_until(lambda: not self.http("west-client", "east-web-0"), timeout=60, what="nobody is that identity")
        problems = [row for row in self.fleet.gateways["east-1"].status()["problems"]
                    if str(number) in row["what"] + row["where"]]
        self.assertTrue(problems and all(row["remedy"] for row in problems),
                        self.fleet.gateways["east-1"].status()["problems"])

    def test_a_live_connection_stops_with_the_policy_and_goes_on_without_it(self):
        """ping keeps one connection (one identifier) for as long as it runs."""
        target = pod("east-web-0").ipv4
        log = os.path.join(self.fleet.folder, "log", "live-ping.log")
        pinging = self.space("west-client").start("live-ping", ["ping", "-n", "-i", "0.05", target], log)
        self.addCleanup(pinging.stop)

        def answers():
            with open(log, encoding="utf-8") as file:
                return file.read().count(" time=")
        wait_until(lambda: answers() > 10, what="answers")
        self.apply("east", "web", cilium_policy("web", "web", "  ingressDeny: [{fromEntities: [all]}]\n"))

        def dropped():  # by whichever of the two gateways west has chosen for the connection
            return self.drops("east-1", "east-2").get("policy_deny", 0)
        before = dropped()

        def wait_drops(more):
            wait_until(lambda: dropped() > before + more, timeout=60, what="dropped echoes")
        wait_drops(20)
        stopped = answers()
        wait_drops(60)
        self.assertEqual(answers(), stopped, "no echo is answered any more")
        self.withdraw("east", "web")
        wait_until(lambda: answers() > stopped + 10, timeout=60, what="answers again")

    def test_new_connections_follow_while_requests_go_on(self):
        """Requests of an identity that stays admitted never fail while others' policies change."""
        steady = SteadyRequests(self.space("west-client"), pod("east-web-0").ipv4, EAST.http_port,
                                os.path.join(self.fleet.folder, "log", "steady-policy.log"))
        self.addCleanup(steady.stop)
        for turn in range(6):
            app = "client" if turn % 2 else "web"
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
    """Gateways that audit: what policy would deny passes, and is told."""

    settings = {"policy": "{audit: true}"}

    def test_what_would_be_denied_passes_and_is_told(self):
        self.fleet.hub.write(policy_file("east", "web"), [cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: {peers("west", "client")}
""")])
        client, target = self.fleet.pod("north", "client"), pod("east-web-0")

        def told():
            status, _ = curl(client, url(target.ipv4, EAST.http_port))
            self.assertEqual(status, 0)
            return [line["flow"] for name in ("east-1", "east-2") for line in self.flows(name, "--verdict", "audit")]
        flow = wait_until(told, timeout=60, what="an audited flow")[0]
        self.assertEqual((flow["source"]["cluster_name"], flow["destination"]["pod_name"], flow["traffic_direction"]),
                         ("north", "web-0", "INGRESS"))
        self.assertNotIn("policy_denied", self.drops("east-1", "east-2"))
        status, _ = curl(self.fleet.pod("west", "client"), url(target.ipv4, EAST.http_port))
        self.assertEqual(status, 0)
        for name in ("east-1", "east-2"):
            self.assertEqual(self.flows(name, "--verdict", "audit", "--cluster", "west"), [], "an allowed one is none")

    def flows(self, gateway, *options):
        done = run([PROGRAM, "flows", "-o", "json", "--socket", self.fleet.gateways[gateway].socket, *options])
        return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    unittest.main()
