"""The Kubernetes source against kube-apiserver: objects of every watched kind, created through the API, must reach a
gateway's tables."""

import tempfile
import unittest

import api_extensions
import kube_apiserver
from follower import Follower

WEB = 65537 + 1000
CUSTOM = (  # group, version, kind, namespaced, plural
    ("cilium.io", "v2", "CiliumEndpoint", True, "ciliumendpoints"),
    ("cilium.io", "v2", "CiliumIdentity", False, "ciliumidentities"),
    ("cilium.io", "v2", "CiliumNetworkPolicy", True, "ciliumnetworkpolicies"),
    ("cilium.io", "v2", "CiliumClusterwideNetworkPolicy", False, "ciliumclusterwidenetworkpolicies"),
    ("cilium.io", "v2", "CiliumCIDRGroup", False, "ciliumcidrgroups"),
    ("multicluster.x-k8s.io", "v1beta1", "ServiceImport", True, "serviceimports"),
    ("multicluster.x-k8s.io", "v1beta1", "ServiceExport", True, "serviceexports"),
)
PLURALS = {kind: plural for _, _, kind, _, plural in CUSTOM} | {
    "NetworkPolicy": "networkpolicies", "EndpointSlice": "endpointslices"}

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
SERVICE = {"apiVersion": "v1", "kind": "Service",
           "metadata": {"name": "web", "namespace": "shop", "annotations": {"service.cilium.io/global": "true"}},
           "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}
IMPORT = {"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
          "metadata": {"name": "web", "namespace": "shop"},
          "spec": {"type": "ClusterSetIP", "ips": ["10.200.0.1"], "ports": [{"name": "http", "port": 80}]}}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {"podCIDR": "10.1.1.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "198.51.100.11"}]}}
IDENTITY = {"apiVersion": "cilium.io/v2", "kind": "CiliumIdentity", "metadata": {"name": str(WEB)},
            "security-labels": {"k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "shop",
                                "k8s:io.cilium.k8s.policy.cluster": "east"}}
FLEET = (
    {"apiVersion": "isthmus.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "east"},
     "spec": {"id": 1, "podCIDRs": ["10.1.0.0/16"], "nodeCIDRs": ["198.51.100.0/24"]}},
    {"apiVersion": "isthmus.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "east-1"},
     "spec": {"cluster": "east", "underlayAddress": "198.51.100.11"}},
    {"apiVersion": "isthmus.io/v1alpha1", "kind": "CrossClusterNetworkProfile", "metadata": {"name": "fleet"},
     "spec": {"clusters": ["east"]}},
)
POLICIES = (
    {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "web", "namespace": "shop"},
     "spec": {"endpointSelector": {"matchLabels": {"app": "web"}},
              "ingress": [{"fromCIDRSet": [{"cidrGroupRef": "office"}]}]}},
    {"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "all"},
     "spec": {"endpointSelector": {}, "egress": [{"toEntities": ["all"]}]}},
    {"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup", "metadata": {"name": "office"},
     "spec": {"externalCIDRs": ["192.0.2.0/24"]}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web", "namespace": "shop"},
     "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
)


def pod(name, address):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "none",
                                                           "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}


def endpoint(name, address):
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint", "metadata": {"name": name, "namespace": "shop"},
            "status": {"identity": {"id": WEB}, "networking": {"addressing": [{"ipv4": address}]}}}


def endpoints(*addresses):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}


EXPECTED = {"Namespace east /shop", "Service east shop/web", "ServiceImport east shop/web", "Node east /node-1",
            f"CiliumIdentity east /{WEB}", "Cluster  /east", "Gateway  /east-1", "CrossClusterNetworkProfile  /fleet",
            "CiliumNetworkPolicy east shop/web", "CiliumClusterwideNetworkPolicy east /all",
            "CiliumCIDRGroup east /office", "NetworkPolicy east shop/web", "EndpointSlice east shop/web-1",
            "Pod east shop/web-0", "Pod east shop/web-1", "CiliumEndpoint east shop/web-0",
            "CiliumEndpoint east shop/web-1"}
TABLES = {"endpoint 10.1.1.10", "endpoint 10.1.1.11", "endpoint 198.51.100.11", "frontend 10.200.0.1 80",
          f"policy {WEB}"}
REMOVED = {"Pod east shop/web-1", "CiliumEndpoint east shop/web-1", "endpoint 10.1.1.11"}


class ClusterHub(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(cls.programs.cleanup)
        cls.program = kube_apiserver.build(cls.programs.name)

    def setUp(self):
        self.hub = kube_apiserver.KubeApiServer(self.program)
        self.addCleanup(self.hub.close)
        self.hub.start()
        for custom in CUSTOM:
            self.hub.install(*custom)
        self.hub.install_ours()

    @staticmethod
    def path(item, name=True):
        meta = item["metadata"]
        version, ns = item["apiVersion"], meta.get("namespace")
        plural = PLURALS.get(item["kind"], item["kind"].lower() + "s")
        folder = f"/{'apis' if '/' in version else 'api'}/{version}" + (f"/namespaces/{ns}" if ns else "")
        return f"{folder}/{plural}" + (f"/{meta['name']}" if name else "")

    def create(self, *items):
        """Creates objects, and writes their status separately, as kubelets and controllers do."""
        for item in items:
            self.hub.request("POST", self.path(item, name=False), item)
            if "status" in item:
                self.hub.request("PATCH", self.path(item) + "/status", {"status": item["status"]},
                                 "application/merge-patch+json")

    def delete(self, *items):
        for item in items:
            self.hub.request("DELETE", self.path(item) + "?gracePeriodSeconds=0")

    def follow(self):
        follower = Follower(self.hub.kubeconfig, "east")
        self.addCleanup(follower.kill)
        api_extensions.wait_for(lambda: follower.synced, "the first list")
        return follower

    @staticmethod
    def objects(follower):
        """The objects created by this test: without the server's own namespaces and Service."""
        def foreign(line):
            return line.startswith("Namespace east /kube-") or line.split("/")[-1] in ("default", "kubernetes")
        return {line for line in follower.objects if not foreign(line)}

    @staticmethod
    def removed(changes):
        """What there was and is gone: a Pod that outlives its CiliumEndpoint for a moment is known by its labels."""
        return {line[2:] for line in changes if line.startswith("-")} & (EXPECTED | TABLES)

    def create_all(self):
        self.create(NAMESPACE, *FLEET, NODE, IDENTITY, SERVICE, IMPORT, *POLICIES, endpoints("10.1.1.10", "10.1.1.11"))
        for number in (0, 1):
            self.create(pod(f"web-{number}", f"10.1.1.1{number}"), endpoint(f"web-{number}", f"10.1.1.1{number}"))

    def wait_objects(self, follower, expected):
        try:
            api_extensions.wait_for(lambda: self.objects(follower) == expected, "the expected objects")
        except AssertionError:
            self.assertEqual(self.objects(follower), expected)

    def test_every_kind_is_read_and_reaches_the_tables(self):
        follower = self.follow()
        self.create_all()
        self.wait_objects(follower, EXPECTED | TABLES)
        self.delete(pod("web-1", ""), endpoint("web-1", ""))
        self.wait_objects(follower, (EXPECTED | TABLES) - REMOVED)
        self.delete(POLICIES[0], POLICIES[1], POLICIES[3])
        self.wait_objects(follower, (EXPECTED | TABLES) - REMOVED - {
            f"policy {WEB}", "CiliumNetworkPolicy east shop/web", "CiliumClusterwideNetworkPolicy east /all",
            "NetworkPolicy east shop/web"})
        self.assertEqual(follower.close(), 0)

    def test_existing_objects_are_listed(self):
        self.create_all()
        self.wait_objects(self.follow(), EXPECTED | TABLES)

    def test_a_service_export_makes_its_service_global(self):
        plain = {**SERVICE, "metadata": {"name": "web", "namespace": "shop"}}
        self.create(NAMESPACE, *FLEET, plain, IMPORT, endpoints("10.1.1.10"))
        follower = self.follow()
        export = {"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
                  "metadata": {"name": "web", "namespace": "shop"}}
        before = [line for line in follower.changes if "Service east shop/web" in line]
        self.create(export)
        api_extensions.wait_for(
            lambda: len([line for line in follower.changes if "Service east shop/web" in line]) > len(before),
            "the Service changes with its export")

    def test_only_differences_are_applied_after_a_restart_with_new_credentials(self):
        self.create_all()
        follower = self.follow()
        self.wait_objects(follower, EXPECTED | TABLES)
        before = len(follower.changes)
        self.hub.stop()
        self.hub.start()
        self.delete(pod("web-1", ""), endpoint("web-1", ""))
        self.wait_objects(follower, (EXPECTED | TABLES) - REMOVED)
        self.assertEqual(self.removed(follower.changes[before:]), REMOVED)

    def test_deletions_during_an_outage_are_found_after_a_compaction(self):
        self.create_all()
        follower = self.follow()
        self.wait_objects(follower, EXPECTED | TABLES)
        before = len(follower.changes)
        self.hub.proxy.block()
        self.delete(pod("web-1", ""), endpoint("web-1", ""))
        self.hub.compact()
        self.hub.stop()
        self.hub.start()
        self.assertEqual(len(follower.changes), before)
        self.hub.proxy.unblock()
        self.wait_objects(follower, (EXPECTED | TABLES) - REMOVED)
        self.assertEqual(self.removed(follower.changes[before:]), REMOVED)


if __name__ == "__main__":
    unittest.main()
