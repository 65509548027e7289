"""10,000 connections, direct and by VIPs, TCP and UDP, every byte compared, while the fleet or its policies change."""

import os
import threading
import time
import unittest

from fleet_case import LOAD, FleetCase, addresses, backends, plan, pod, wait_until
from fleet.load import PORT, LoadClient, LoadServer
from fleet.policies import cilium_policy, policy_file

PORTS = (("load", "TCP", PORT, PORT), ("load-udp", "UDP", PORT, PORT))
# Behind the VIP it comes and goes during the test: connections to it are the affected ones.
FLAPPING = "north-web-1"
CHANGES = 1500
ROUND_MS = 5000


# The port whose connections the policies stop, time and again.
STOPPED_PORT = 9001
EVERYWHERE = "{key: io.cilium.k8s.policy.cluster, operator: Exists}"


class Churn(threading.Thread):
    """Changes the hub a hundred times a second."""

    def __init__(self, hub):
        super().__init__()
        self.hub = hub
        self.changes = 0
        self.seconds = 0.0
        self.error = None
        self.ended = threading.Event()

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        begun = due = time.monotonic()
        try:
            while not self.ended.is_set():
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
        self.ended.set()
        self.join()


class ServiceChurn(Churn):
    """Services that come, change and go, and one backend of shop/load."""

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
    """Policies of all clusters: for the pods under load (every time another one that admits them), for pods that do not
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
            self.admit(cluster, number)

    def admit(self, cluster, number):
        """Enforced both ways: pods of any cluster, and a port that is different each time."""
        other = f"[{{ports: [{{port: \"{1024 + number}\", protocol: TCP}}]}}]"
        self.hub.write(policy_file(cluster, "web"), [cilium_policy("web", "web", f"""\
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: client}}, matchExpressions: [{EVERYWHERE}]}}]
  - fromEntities: [world]
    toPorts: {other}
"""), cilium_policy("client", "client", f"""\
  egress:
  - toEndpoints: [{{matchLabels: {{app: web}}, matchExpressions: [{EVERYWHERE}]}}]
  - toEntities: [world]
    toPorts: {other}
""")])

    def deny_port(self, denied):
        rules = "  ingress: [{fromEntities: [all]}]\n"
        if denied:
            rules += f"""\
  ingressDeny:
  - fromEntities: [all]
    toPorts: [{{ports: [{{port: "{STOPPED_PORT}", protocol: TCP}}]}}]
"""
        self.hub.write(policy_file("east", "stop"), [cilium_policy("stop", "web", rules)])


class TenThousandConnections(FleetCase):
    # On a machine that is short of processors a gateway may wait longer for one than its rings hold packets, or than it
    # takes to be called silent; here connections are to break by the fleet's changes or not at all.
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
        """(client, number of connections, through VIPs)."""
        direct = [address for entry in backends("west") for address in (entry.ipv4, entry.ipv6)]
        to_north = [address for entry in backends("north") for address in (entry.ipv4, entry.ipv6)]
        rows = (("east-client", 3000, self.vips, ()), ("west-client", 2000, self.vips, ()),
                ("north-client", 1500, direct, ()), ("east-client3", 1000, self.vips, ("--udp",)),
                ("west-client", 1500, to_north, ("--udp",)), ("east-client", 1000, direct, ()))
        return [(self.client(name, number, targets, *options), number, targets is self.vips)
                for name, number, targets, options in rows]

    def change_under_load(self, churn, others=()):
        """10,000 connections, `others` besides, while `churn` runs: broken connections by what happened to them."""
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
            self.assertTrue(gateway.alive, f"{gateway.name} ended:\n{gateway.daemon.log_tail()}")
        return broken

    def test_no_unaffected_connection_breaks_while_the_fleet_changes_a_hundred_times_a_second(self):
        self.assertEqual(self.change_under_load(ServiceChurn(self.fleet.hub)), {})

    def test_no_unaffected_connection_breaks_while_policies_change_a_hundred_times_a_second(self):
        churn = PolicyChurn(self.fleet.hub)
        churn.deny_port(False)
        self.addCleanup(self.remove_policies)
        for entry in backends("east"):
            self.addCleanup(LoadServer(self.fleet, entry, LOAD, STOPPED_PORT).stop)
        stopped = LoadClient(self.fleet, pod("west-client"), LOAD, "stopped",
                             [(entry.ipv4, STOPPED_PORT) for entry in backends("east")],
                             "--connections", 200, "--per-second", 100, "--interval-ms", 500, "--stall-ms", 240000)
        self.addCleanup(stopped.stop)
        self.assertEqual(self.change_under_load(churn, [(stopped, 200)]), {})
        self.assertEqual(stopped.latest()["failures"], {}, "denied for moments, they wait")
        churn.deny_port(True)
        for name in ("east-1", "east-2"):
            wait_until(lambda name=name: self.rules_of_stop(name) == 2, what=f"{name} denies the port")
        self.wait_reports(stopped, 2)
        before = stopped.latest()
        self.wait_reports(stopped, 4)
        self.assertEqual(stopped.latest()["bytes"], before["bytes"], "denied, nothing passes")
        churn.deny_port(False)
        stopped.wait_rounds(2, timeout=120)

    def rules_of_stop(self, name):
        """How many rules the policy that stops the port has, as that gateway applies it."""
        rows = self.fleet.gateways[name].query("policy")["policies"]
        return next((row["rules"] for row in rows if row["name"] == "shop/stop" and row["state"] == "applied"), 0)

    @staticmethod
    def wait_reports(client, more):
        """Until a client has reported `more` times again; it does once a second."""
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
