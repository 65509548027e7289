"""10,000 connections, to pods and to VIPs, TCP and UDP, every byte verified, while services or policies change."""

import os
import threading
import time
import unittest

from fleet_case import LOAD, FleetCase, addresses, backends, plan, pod, wait_until
from fleet.load import PORT, LoadClient, LoadServer
from fleet.policies import cilium_policy, policy_file

PORTS = (("load", "TCP", PORT, PORT), ("load-udp", "UDP", PORT, PORT))
# The backend that is removed and added again: only connections through the VIP to it may break.
FLAPPING = "north-web-1"
CHANGES = 1500
ROUND_MS = 5000
# The port that a policy denies and allows in turn.
DENIED_PORT = 9001
EVERYWHERE = "{key: io.cilium.k8s.policy.cluster, operator: Exists}"


class Churn(threading.Thread):
    """A thread that changes the hub 100 times a second."""

    def __init__(self, hub):
        super().__init__()
        self.hub = hub
        self.changes = 0
        self.seconds = 0.0
        self.error = None
        self.stopping = threading.Event()

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        begun = due = time.monotonic()
        try:
            while not self.stopping.is_set():
                self.change(self.changes)
                self.changes += 1
                due += 0.01
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError as error:
            self.error = error
        self.seconds = time.monotonic() - begun

    def change(self, number):
        raise NotImplementedError

    def stop(self):
        self.stopping.set()
        self.join()


class ServiceChurn(Churn):
    """Adds, changes and empties services, and removes and adds one backend of shop/load."""

    def change(self, number):
        cluster = plan.CLUSTERS[number % 3]
        pods = backends(cluster.name)
        step = (number // 3) % 4
        if step == 3:
            north = plan.cluster("north")
            stay = [entry for entry in backends("north") if entry.full_name != FLAPPING or (number // 12) % 2]
            self.hub.write_service(north, "load", backends=stay, ports=PORTS)
        elif step == 2:
            self.hub.write_service(cluster, f"noise-{number % 7}", backends=[])
        else:
            self.hub.write_service(cluster, f"noise-{number % 7}", backends=pods[:1 + number % len(pods)],
                                   annotations={"isthmus.io/vip": f"10.200.0.{100 + number % 7}"})


class PolicyChurn(Churn):
    """Changes policies of all clusters: for the pods under load (always allowing their traffic), for pods that do not
    exist, and one in east that denies a port every other time."""

    def change(self, number):
        cluster = plan.CLUSTERS[number % 3].name
        step = (number // 3) % 4
        if step == 3:
            self.deny_port((number // 12) % 2 == 1)
        elif step == 2:
            name = f"noise-{number % 7}"
            rules = f"  ingress: [{{fromCIDR: [10.{number % 200}.0.0/16]}}]\n"
            self.hub.write(policy_file(cluster, name), [cilium_policy(name, f"noise-{number % 5}", rules)])
        else:
            self.allow_load(cluster, number)

    def allow_load(self, cluster, number):
        """Policies for both directions: allow pods of any cluster, and an unused port that differs each time."""
        unused_port = f"[{{ports: [{{port: \"{1024 + number}\", protocol: TCP}}]}}]"
        self.hub.write(policy_file(cluster, "web"), [cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: client}}, matchExpressions: [{EVERYWHERE}]}}]
  - fromEntities: [world]
    toPorts: {unused_port}
"""), cilium_policy("client", "client", f"""\
  egress:
  - toEndpoints: [{{matchLabels: {{app: web}}, matchExpressions: [{EVERYWHERE}]}}]
  - toEntities: [world]
    toPorts: {unused_port}
""")])

    def deny_port(self, denied):
        rules = "  ingress: [{fromEntities: [all]}]\n"
        if denied:
            rules += f"""\
  ingressDeny:
  - fromEntities: [all]
    toPorts: [{{ports: [{{port: "{DENIED_PORT}", protocol: TCP}}]}}]
"""
        self.hub.write(policy_file("east", "port"), [cilium_policy("port", "web", rules)])


class TenThousandConnections(FleetCase):
    # On a machine with few cores a gateway may be descheduled for longer than its rings can absorb, or than it takes to
    # be declared down. Priority and a long timeout exclude both: here only the fleet's changes may break connections.
    settings = {"health": "{interval: 500ms, misses: 12}", "nice": -15}

    @classmethod
    def prepare(cls):
        for entry in backends():
            cls.addClassCleanup(LoadServer(cls.fleet, entry, LOAD).stop)
        cls.vips = cls.fleet.allocate("shop/load")
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster, "load", ports=PORTS)
        cls.fleet.wait_backends("shop/load", addresses(backends()))

    def client(self, name, number, targets, *options):
        client = LoadClient(self.fleet, pod(name), LOAD, f"{name}-{number}", [(address, PORT) for address in targets],
                            "--connections", number, "--per-second", 400, "--interval-ms", ROUND_MS,
                            "--stall-ms", 120000, *options)
        self.addCleanup(client.stop)
        return client

    def clients(self):
        """Rows of (client, number of connections, whether through VIPs)."""
        direct = [address for entry in backends("west") for address in (entry.ipv4, entry.ipv6)]
        to_north = [address for entry in backends("north") for address in (entry.ipv4, entry.ipv6)]
        rows = (("east-client", 3000, self.vips, ()), ("west-client", 2000, self.vips, ()),
                ("north-client", 1500, direct, ()), ("east-client3", 1000, self.vips, ("--udp",)),
                ("west-client", 1500, to_north, ("--udp",)), ("east-client", 1000, direct, ()))
        return [(self.client(name, number, targets, *options), number, targets is self.vips)
                for name, number, targets, options in rows]

    def change_under_load(self, churn, others=()):
        """Runs `churn` under 10,000 connections, plus `others`; returns the failures of unaffected connections."""
        clients = self.clients()
        self.assertEqual(sum(number for _, number, _ in clients), 10000)
        for client, number in [entry[:2] for entry in clients] + list(others):
            client.wait_open(number, timeout=120)
        churn.start()
        self.addCleanup(churn.stop)
        for client, _, _ in clients:
            client.wait_rounds(3, timeout=180)
        while churn.changes < CHANGES and churn.is_alive():
            time.sleep(0.2)
        churn.stop()
        self.assertIsNone(churn.error)
        reports = [(client.wait_rounds(1, timeout=120), through_vip) for client, _, through_vip in clients]
        print(f"      . {churn.changes} changes in {churn.seconds:.1f} s; bytes verified: "
              f"{sum(report['bytes'] for report, _ in reports)}; drops {self.drops()}")
        broken = {}
        for report, through_vip in reports:
            for what, count in report["failures"].items():
                if not (through_vip and what.startswith(FLAPPING)):
                    broken[what] = broken.get(what, 0) + count
        self.assertEqual(self.checksum_errors(), {})
        for gateway in self.fleet.gateways.values():
            self.assertTrue(gateway.alive, f"{gateway.name} exited:\n{gateway.daemon.log_tail()}")
        return broken

    def test_no_unaffected_connection_breaks_at_100_service_changes_a_second(self):
        self.assertEqual(self.change_under_load(ServiceChurn(self.fleet.hub)), {})

    def test_no_unaffected_connection_breaks_at_100_policy_changes_a_second(self):
        churn = PolicyChurn(self.fleet.hub)
        churn.deny_port(False)
        self.addCleanup(self.remove_policies)
        for entry in backends("east"):
            self.addCleanup(LoadServer(self.fleet, entry, LOAD, DENIED_PORT).stop)
        denied = LoadClient(self.fleet, pod("west-client"), LOAD, "denied",
                             [(entry.ipv4, DENIED_PORT) for entry in backends("east")],
                             "--connections", 200, "--per-second", 100, "--interval-ms", 500, "--stall-ms", 240000)
        self.addCleanup(denied.stop)
        self.assertEqual(self.change_under_load(churn, [(denied, 200)]), {})
        self.assertEqual(denied.latest()["failures"], {}, "connections denied for a short time must survive")
        churn.deny_port(True)
        for name in ("east-1", "east-2"):
            wait_until(lambda name=name: self.rules_of_port(name) == 2, what=f"{name} denies the port")
        self.wait_reports(denied, 2)
        before = denied.latest()
        self.wait_reports(denied, 4)
        self.assertEqual(denied.latest()["bytes"], before["bytes"], "data passed while the port was denied")
        churn.deny_port(False)
        denied.wait_rounds(2, timeout=120)

    def rules_of_port(self, name):
        """The number of rules that a gateway applies of the policy that denies the port."""
        rows = self.fleet.gateways[name].query("policy")["policies"]
        return next((row["rules"] for row in rows if row["name"] == "shop/port" and row["state"] == "applied"), 0)

    @staticmethod
    def wait_reports(client, more):
        """Waits for `more` further reports of a client; it reports once a second."""
        goal = client.reports() + more
        wait_until(lambda: client.reports() >= goal, what=f"{more} reports")

    def remove_policies(self):
        for cluster in plan.CLUSTERS:
            folder = os.path.join(self.fleet.hub.folder, "clusters", cluster.name)
            for name in os.listdir(folder):
                if name.startswith("policy-"):
                    os.remove(os.path.join(folder, name))


if __name__ == "__main__":
    unittest.main()
