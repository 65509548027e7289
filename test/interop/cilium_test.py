"""A fleet over a ClusterMesh in which Cilium's own types, store and etcd client publish west."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

import go_program  # noqa: E402
from fleet_case import PREFIX, PROGRAM, FleetCase, addresses, backends, plan, pod, url, wait_until  # noqa: E402
from fleet.fleet import Fleet  # noqa: E402
from fleet.mesh import GATEWAY_SERVICE, Mesh, vip_label  # noqa: E402
from fleet import hub  # noqa: E402
from fleet.traffic import curl, curl_many, ping  # noqa: E402

WEST = plan.cluster("west")


class Publisher:
    """cilium-publisher (cilium/main.go) in a network namespace; each command waits for its answer."""

    def __init__(self, program, netns, config, log):
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(netns.enter([program, config]), stdin=subprocess.PIPE, text=True,
                                            stdout=subprocess.PIPE, stderr=errors)

    def send(self, operation, **fields):
        self.process.stdin.write(json.dumps({"Op": operation, **fields}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(f"{operation} {fields}: {answer or 'cilium-publisher exited'}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


class CiliumMesh(Mesh):
    """A Mesh in which cilium-publisher writes west's data."""

    program = None

    def __init__(self, folder):
        super().__init__(folder)
        self.publisher = None

    def publish(self, cluster):
        if cluster is not WEST:
            super().publish(cluster)
            return
        etcd = self.etcds["west"]
        config = os.path.join(self.base, "publisher.yaml")
        with open(config, "w", encoding="ascii") as file:
            file.write(etcd.authority.client_config(etcd.url, "root"))
        self.publisher = Publisher(self.program, etcd.netns, config, os.path.join(self.base, "log", "publisher.log"))
        send = self.publisher.send
        send("cluster", Name="west", ID=WEST.id)
        for node in WEST.nodes:
            send("node", Name=f"west-{node.name}", Address=WEST.node_ipv4(node), PodCIDRs=list(WEST.pod_subnets(node)))
        for app in ("web", "client"):
            send("identity", ID=WEST.identity(app), Labels={
                "app": app, "io.cilium.k8s.policy.cluster": "west", "io.kubernetes.pod.namespace": "shop"})
        for entry in WEST.pods():
            for address in (entry.ipv4, entry.ipv6):
                self.publish_address(entry, address)
        ns, name = GATEWAY_SERVICE
        send("service", Namespace=ns, Name=name,
             Backends={gateway.underlay: {"vxlan": {"Protocol": "UDP", "Number": 8472}} for gateway in WEST.gateways},
             Hostnames={gateway.underlay: gateway.name for gateway in WEST.gateways})
        send("synced")

    def publish_address(self, entry, address, identity=None):
        self.publisher.send("address", Address=address, Host=WEST.node_ipv4(WEST.node(entry.node)),
                           ID=identity or entry.identity, Namespace="shop", Pod=entry.name)

    def write_service(self, cluster, name="web", backends=None, **options):  # pylint: disable=redefined-outer-name
        if cluster is not WEST:
            super().write_service(cluster, name, backends, **options)
            return
        chosen = backends if backends is not None else [entry for entry in WEST.pods() if entry.backend]
        hub.Hub.write_service(self, cluster, name, chosen)
        ports = hub.web_ports(WEST)
        claim = self.claims.get(("west", name))
        self.publisher.send(
            "service", Namespace="shop", Name=name, Labels={"isthmus.io/vip": vip_label(claim)} if claim else {},
            Frontends={"172.20.2.1": {port: {"Protocol": kind, "Number": number} for port, kind, number, _ in ports}},
            Backends={address: {port: {"Protocol": kind, "Number": number} for port, kind, _, number in ports}
                      for entry in chosen for address in (entry.ipv4, entry.ipv6)})

    def stop(self):
        if self.publisher is not None:
            self.publisher.close()
        super().stop()


class Cilium(FleetCase):
    @classmethod
    def make_fleet(cls):
        folder = tempfile.TemporaryDirectory(prefix="ist-cilium-")
        cls.addClassCleanup(folder.cleanup)
        CiliumMesh.program = go_program.build(folder.name, "cilium-publisher", "cilium")
        return Fleet(PROGRAM, PREFIX, cls.settings, CiliumMesh)

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()
        cls.mesh = cls.fleet.hub
        cls.east = cls.fleet.gateways["east-1"]

    def test_pods_published_by_cilium_are_reachable(self):
        target = pod("west-web-0")
        for address in (target.ipv4, target.ipv6):
            self.assertIsNotNone(ping(self.fleet.pod("east", "client"), address, count=1))
            status, body = curl(self.fleet.pod("north", "client"), url(address, WEST.http_port))
            self.assertEqual((status, body.split()[:1]), (0, ["west-web-0"]))
        part = self.east.hub_part("west")
        self.assertEqual((part["state"], part["refused"], part["invalid"]), ("in sync", 0, []))

    def test_a_service_published_by_cilium_is_balanced_and_scaled(self):
        seen = curl_many(self.fleet.pod("east", "client"), url(self.vips[0], 80), 60, "-4")
        self.assertEqual(seen["-"], 0, seen)
        self.assertTrue(seen["west-web-0"] and seen["west-web-1"], seen)
        self.addCleanup(lambda: (self.mesh.write_service(WEST), self.fleet.wait_backends(
            "shop/web", addresses(backends()))))
        self.mesh.write_service(WEST, backends=[entry for entry in backends("west") if entry.name != "web-1"])
        self.fleet.wait_backends("shop/web", addresses([entry for entry in backends()
                                                        if entry.full_name != "west-web-1"]))

    def test_labels_and_identity_changes_are_applied(self):
        target = pod("west-web-0")

        def row():
            return self.east.query("endpoints", "--address", target.ipv4)["endpoints"][0]
        self.assertEqual((row()["name"], row()["identity"]), ("shop/web-0", target.identity))
        self.assertIn("k8s:app=web", row()["labels"])
        self.addCleanup(self.mesh.publish_address, target, target.ipv4)
        self.mesh.publish_address(target, target.ipv4, WEST.identity("client"))
        wait_until(lambda: row()["identity"] == WEST.identity("client"), what="the new identity")
        self.assertIn("k8s:app=client", row()["labels"])

    def test_a_deleted_address_is_removed(self):
        target = pod("west-client")
        self.addCleanup(self.mesh.publish_address, target, target.ipv6)
        self.mesh.publisher.send("delete-address", Address=target.ipv6)
        wait_until(lambda: not self.east.query("endpoints", "--address", target.ipv6)["endpoints"],
                   what="the endpoint is removed")

    def test_service_exports_are_read(self):
        self.mesh.publisher.send("export", Namespace="shop", Name="web", Created="2026-03-02T10:00:00Z")
        events = self.east.hub_part("west")["events"]
        self.mesh.publisher.send("export", Namespace="shop", Name="other", Created="2026-03-02T10:00:00Z")
        wait_until(lambda: self.east.hub_part("west")["events"] > events, what="the export is read")
        self.assertEqual(self.east.hub_part("west")["invalid"], [])


if __name__ == "__main__":
    unittest.main()
